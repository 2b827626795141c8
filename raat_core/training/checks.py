"""What a training refuses to go on with: numbers that are not finite, batches without variance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raat_core.cells.cell import Cell
from raat_core.errors import UserError
from raat_core.interface.method import Method
from raat_core.models.modes import in_mode
from raat_core.training.state import Progress
from raat_core.training.trainee import Trainee


def require_finite(trainee: Trainee, progress: Progress) -> None:
    """Refuse to evaluate or to save what is not finite.

    Raises:
        UserError: a loss term or a weight is not; says which and where.
    """
    _require_finite_terms(trainee.cell, progress)
    _require_finite_weights(trainee, progress)


def _require_finite_terms(cell: Cell, progress: Progress) -> None:
    """Looked at once an epoch, so that no step waits for the device."""
    if not progress.terms:
        return
    values = torch.stack(progress.terms)
    bad = torch.nonzero(~values.isfinite())
    if len(bad) > 0:
        step, term = bad[0].tolist()
        raise UserError(
            f"the loss is not finite: term '{progress.term_names[term]}' is "
            f"{values[step, term].item()} at epoch {progress.epoch + 1}, step {step + 1} "
            f"of cell {cell.name}"
        )


def _require_finite_weights(trainee: Trainee, progress: Progress) -> None:
    """A finite loss can have gradients that are not.

    The last step of an epoch leaves them in the weights, and no later loss tells. Looked at once
    an epoch, as losses are.
    """
    tensors = {
        **{f"weight '{name}'": t for name, t in trainee.model.state_dict().items()},
        **{f"the optimiser's '{n}'": t for n, t in trainee.optimizer.state().items()},
        **{f"the method's '{name}'": t for name, t in trainee.method_state().items()},
    }
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not tensors:
        return
    finite = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
    if not all(finite):
        first = list(tensors)[finite.index(False)]
        raise UserError(
            f"the weights are not finite: {first} holds NaN or infinity at epoch "
            f"{progress.epoch + 1}, after step {progress.step} of cell {trainee.cell.name}"
        )


@torch.no_grad()
def require_logits(model: nn.Module, images: Tensor, classes: int, architecture: str) -> None:
    """Refuse a network that gives something else than a value for each class.

    Args:
        model: which.
        images: (N, C, H, W), some that it takes.
        classes: of the data set.
        architecture: its name, for the message.

    Raises:
        UserError: says what it gave.
    """
    with in_mode(model, training=False):
        found = model(images)
    expected = (len(images), classes)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else found
        raise UserError(
            f"architecture '{architecture}': must return logits of shape {expected} for "
            f"{len(images)} images of {classes} classes, not {what!s:.80}"
        )


@contextmanager
def explaining_lone_values(
    cell: Cell, where: str, images: int, method: Method | None = None
) -> Iterator[None]:
    """One image has no variance where a layer sees it as a single pixel.

    Args:
        cell: what is trained.
        where: in the training, for the message.
        images: in the batch.
        method: that may have forwarded a part of them alone.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        needs = f"BatchNorm needs more than one value per channel, and {cell.architecture} has one"
        if images > 1 and method is not None:
            instead = f"{method.whole_batches}, or " if method.whole_batches else ""
            raise UserError(
                f"method '{cell.method.name}': {needs} at {where}, where one image of a batch of "
                f"{images} is forwarded alone in training mode; choose {instead}an architecture "
                f"that has several"
            ) from error
        raise UserError(
            f"recipe.batch_size = {cell.recipe.batch_size}: {needs} at {where}, where a batch has "
            f"one image; choose another batch_size{_or_drop(cell)}"
        ) from error


def _or_drop(cell: Cell) -> str:
    """Helps where only the last batch of an epoch is too small."""
    return (
        ", or drop_last: true" if cell.recipe.batch_size > 1 and not cell.recipe.drop_last else ""
    )
