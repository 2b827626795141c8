"""A model's predictions on clean and attacked images, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raat_core.attacks.pgd import Pgd
from raat_core.data.dataset import Split
from raat_core.errors import UserError
from raat_core.randomness import generator

NO_CLASS = -1
"""What is predicted where logits are NaN or infinite: argmax would name a class all the same."""


def predicted_classes(logits: Tensor) -> Tensor:
    """Classes (B,) int64 of logits (B, K); `NO_CLASS` where they are not finite."""
    return logits.argmax(1).masked_fill(~logits.isfinite().all(1), NO_CLASS)


def classes_of(model: nn.Module, images: Tensor) -> Tensor:
    """`predicted_classes` (B,) int64 of images (B, C, H, W)."""
    with torch.no_grad():
        return predicted_classes(model(images))


def require_classes(predictions: Tensor, what: str) -> None:
    """Refuse predictions without a class: they are neither right nor wrong.

    Args:
        predictions: (N,) int64.
        what: was predicted, for the message.

    Raises:
        UserError: the logits of some were not finite; says of how many.
    """
    without = int((predictions == NO_CLASS).sum())
    if without > 0:
        raise UserError(
            f"the model's logits are not finite (NaN or infinite) on {without} of "
            f"{len(predictions)} {what}"
        )


def require_evaluation_mode(model: nn.Module) -> None:
    """Refuse a model that would normalise by the batch it is shown.

    Raises:
        ValueError: some module is in training mode; says which.
    """
    for name, module in model.named_modules():
        if module.training:
            where = f"its module '{name}' is" if name else "it is"
            raise ValueError(f"evaluation needs model.eval(): {where} in training mode")


def predict(
    model: nn.Module,
    split: Split,
    batch_size: int,
    attack: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    between_batches: Callable[[], None] = lambda: None,
) -> Tensor:
    """Predicted classes (N,) int64 of a split, of clean images or of attacked ones.

    Args:
        model: in evaluation mode, on the split's device.
        split: what to predict.
        batch_size: images at a time.
        attack: (images, labels, number of the batch) -> adversarial images.
        between_batches: called before every batch; may raise to stop.

    Raises:
        ValueError: the model is in training mode.
        UserError: some of its logits are not finite.
    """
    require_evaluation_mode(model)
    predictions = []
    positions = torch.arange(len(split), device=split.labels.device)
    for number, indices in enumerate(torch.split(positions, batch_size)):
        between_batches()
        images, labels = split.batch(indices)
        if attack is not None:
            images = attack(images, labels, number)
        predictions.append(classes_of(model, images))
    found = torch.cat(predictions)
    require_classes(found, "clean images" if attack is None else "attacked images")
    return found


def pgd_batches(
    model: nn.Module, pgd: Pgd, seed: int, *purpose: str | int
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """`predict`'s attack: PGD whose start in a batch is a function of seed, purpose and batch."""

    def attack(images: Tensor, labels: Tensor, number: int) -> Tensor:
        draws = generator(images.device, seed, *purpose, number)
        return pgd.run(model, images, labels, draws)

    return attack


def percent_correct(predictions: Tensor, labels: Tensor) -> float:
    """Accuracy in percent."""
    return 100.0 * (predictions == labels).double().mean().item()
