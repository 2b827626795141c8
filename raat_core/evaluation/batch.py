"""One batch under one evaluation: its outcome depends on nothing but the model and the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raat_core.cells.evaluations import Evaluation
from raat_core.data.dataset import Split, evenly_spaced
from raat_core.evaluation.accuracy import (
    classes_of,
    predicted_classes,
    require_classes,
    require_evaluation_mode,
)
from raat_core.evaluation.outcomes import require_classes_of, require_in_ball, require_outcome
from raat_core.interface.attack import Attack
from raat_core.interface.draws import Draws
from raat_core.interface.registry import build_attack
from raat_core.randomness import NamedDraws, seeded


def predict_batch(
    model: nn.Module,
    evaluation: Evaluation,
    number: int,
    images: Tensor,
    labels: Tensor,
    check_stop: Callable[[], None] = lambda: None,
) -> Tensor:
    """Classes (B,) int64 predicted for a batch under an attack, or for its clean images.

    `NO_CLASS` where the logits are not finite.

    Args:
        model: in evaluation mode, on the images' device.
        evaluation: the attack.
        number: of the batch, from 0; random draws are a function of it.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) int64.
        check_stop: called by the attack now and then; may raise to stop.

    Raises:
        ValueError: the model is in training mode.
        UserError: the attack refuses the model, or what it returns is not allowed.
    """
    require_evaluation_mode(model)
    attack = build_attack(evaluation)
    found = run_attack(attack, model, number, images, labels, check_stop)
    is_images = require_outcome(evaluation, found, images, labels)
    if is_images:
        found = found.detach()
        require_in_ball(evaluation, found, images)
    predictions = classes_of(model, found) if is_images else found
    if not attack.counts_clean_errors:
        return predictions
    with torch.no_grad():
        logits = model(images)
    require_classes_of(evaluation, predictions, logits.shape[1])
    clean = predicted_classes(logits)
    return predictions.where(clean == labels, clean)


def run_attack(
    attack: Attack,
    model: nn.Module,
    number: int,
    images: Tensor,
    labels: Tensor,
    check_stop: Callable[[], None],
) -> Tensor:
    """What the attack returns. It gets copies, so that it is held against the images as they were.

    Draws from torch's global generators, as those of other authors' packages, are functions of
    seed and batch as well.
    """
    seed = attack.settings.seed

    def draws(name: str) -> Draws:
        return NamedDraws(images.device, seed, *attack.purpose(name, number))

    with seeded(seed, *attack.purpose("torch", number)):
        found = attack.run(model, images.clone(), labels.clone(), draws, check_stop)
    require_evaluation_mode(model)
    return found


def predict_split(
    model: nn.Module,
    evaluation: Evaluation,
    split: Split,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Classes predicted for a split under an attack, and its labels, both (N,) int64.

    N is the attack's `samples`, evenly spaced, or else all.

    Raises:
        UserError: as `predict_batch`, or some of the model's logits are not finite.
    """
    index = evenly_spaced(len(split), evaluation.images(len(split))).to(split.labels.device)
    predictions = []
    for number, chosen in enumerate(torch.split(index, evaluation.batch_size)):
        check_stop()
        images, labels = split.batch(chosen)
        predictions.append(predict_batch(model, evaluation, number, images, labels, check_stop))
    found = torch.cat(predictions)
    require_classes(found, f"images under {evaluation.label}")
    return found, split.labels[index]
