"""One batch under one evaluation: its outcome depends on nothing but the model and the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from raat_core.cells.evaluations import Evaluation
from raat_core.data.dataset import Split
from raat_core.data.sampling import stratified
from raat_core.errors import UserError
from raat_core.evaluation.accuracy import (
    NO_CLASS,
    classes_of,
    predicted_classes,
    require_classes,
    require_evaluation_mode,
)
from raat_core.evaluation.outcomes import require_classes_of, require_outcome
from raat_core.interface.attack import Attack, AttackBatch, Outcome, Work
from raat_core.interface.draws import Draws
from raat_core.interface.registry import build_attack
from raat_core.randomness import NamedDraws, seeded


@dataclass(frozen=True)
class Samples:
    """A batch of test images: what is attacked."""

    images: Tensor
    """(B, C, H, W) in [0, 1]."""
    labels: Tensor
    """(B,) int64."""
    index: Tensor
    """(B,) int64 positions in the test set."""
    number: int
    """Of the batch, from 0; random draws are a function of it."""


@dataclass(frozen=True)
class Around:
    """What an attack may use beside model and images; see `AttackBatch`."""

    check_stop: Callable[[], None] = lambda: None
    models: Mapping[str, nn.Module] | None = None
    data_root: Path | None = None


NOTHING_AROUND = Around()


@dataclass(frozen=True)
class BatchOutcome:
    """What became of a batch under an attack."""

    predictions: Tensor
    """(B,) int64 classes, of adversarial attacks the worst of clean and attacked; `NO_CLASS` where
    logits are not finite."""
    clean: Tensor
    """(B,) int64 classes predicted without attack."""
    details: Mapping[str, Tensor]
    """(B,) each."""
    work: Mapping[str, Work]
    adversarial: Tensor | None
    """(B, C, H, W), if the attack says which: the clean image where that is misclassified."""


def attack_batch(
    model: nn.Module, evaluation: Evaluation, samples: Samples, around: Around = NOTHING_AROUND
) -> BatchOutcome:
    """Attack a batch; an image that is misclassified when clean is so under every attack.

    Args:
        model: in evaluation mode, on the images' device.
        evaluation: the attack.
        samples: what is attacked.
        around: what else the attack may use.

    Raises:
        ValueError: the model is in training mode.
        UserError: the attack refuses the model, or what it returns is not allowed.
    """
    require_evaluation_mode(model)
    images, labels = samples.images, samples.labels
    attack = build_attack(evaluation)
    outcome = run_attack(attack, model, samples, around)
    # A model that draws at random says the same again.
    with torch.no_grad(), seeded(evaluation.seed, *attack.purpose("verdict", samples.number)):
        logits = model(images)
        clean = predicted_classes(logits)
        predictions, adversarial = clean, outcome.images
        if outcome.classes is not None:
            predictions = outcome.classes
        elif adversarial is not None:
            predictions = classes_of(model, adversarial)
        else:
            adversarial = images
    require_classes_of(evaluation, predictions, logits.shape[1])
    if not attack.is_adversarial:
        return BatchOutcome(predictions, clean, outcome.details, outcome.work, adversarial)
    was_right = clean == labels
    if adversarial is not None:
        adversarial = adversarial.where(was_right[:, None, None, None], images)
    # No class is neither right nor wrong, and refused by who asked.
    worst = predictions.where(was_right | (predictions == NO_CLASS), clean)
    return BatchOutcome(worst, clean, outcome.details, outcome.work, adversarial)


def run_attack(
    attack: Attack, model: nn.Module, samples: Samples, around: Around = NOTHING_AROUND
) -> Outcome:
    """What the attack returns, found to be allowed.

    It gets copies, so that it is held against the images as they were. Draws from torch's global
    generators, as those of other authors' packages, are functions of seed and batch as well.

    Raises:
        UserError: what it returns is not allowed.
    """
    seed, number = attack.settings.seed, samples.number
    images, labels = samples.images, samples.labels

    def draws(name: str) -> Draws:
        return NamedDraws(images.device, seed, *attack.purpose(name, number))

    batch = AttackBatch(
        images=images.clone(),
        labels=labels.clone(),
        index=samples.index.clone(),
        number=number,
        draws=draws,
        check_stop=around.check_stop,
        models=around.models or {},
        data_root=around.data_root,
    )
    with seeded(seed, *attack.purpose("torch", number)):
        found = attack.run(model, batch)
    require_evaluation_mode(model)
    return require_outcome(attack, found, images, labels)


def predict_batch(
    model: nn.Module,
    evaluation: Evaluation,
    number: int,
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    """Classes (B,) int64 of `attack_batch`, of images that are the first of their test set."""
    index = torch.arange(len(labels), device=labels.device)
    return attack_batch(model, evaluation, Samples(images, labels, index, number)).predictions


def predict_split(
    model: nn.Module,
    evaluation: Evaluation,
    split: Split,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Classes predicted for a split under an attack, and its labels, both (N,) int64.

    N is the attack's `samples`, as `attacked_positions` says, or else all.

    Raises:
        UserError: as `attack_batch`, or some of the model's logits are not finite.
    """
    index = attacked_positions(evaluation, split)
    predictions = []
    for number, chosen in enumerate(torch.split(index, evaluation.batch_size)):
        check_stop()
        samples = Samples(*split.batch(chosen), chosen, number)
        around = Around(check_stop)
        predictions.append(attack_batch(model, evaluation, samples, around).predictions)
    found = torch.cat(predictions)
    require_classes(found, f"images under {evaluation.label}")
    return found, split.labels[index]


def attacked_positions(evaluation: Evaluation, split: Split) -> Tensor:
    """Which images of a split are attacked: ascending positions, int64, on the split's device.

    Raises:
        UserError: the attack asks for more than there are.
    """
    total, count = len(split), evaluation.images(len(split))
    if count > total:
        raise UserError(f"{evaluation.label}: samples = {count}: the test set has {total} images")
    return stratified(split.labels, count).to(split.labels.device)
