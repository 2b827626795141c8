"""What an attack may return: images that it was allowed to make, or classes that there are."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

import torch
from torch import Tensor

from raat_core.cells.evaluations import Evaluation
from raat_core.errors import UserError
from raat_core.evaluation.accuracy import NO_CLASS
from raat_core.interface.attack import SHARE_RIGHT, Attack, Outcome

TOLERANCE = 1e-5
"""Of pixels and of distances: what float32 rounds."""
_ORDERS = {"linf": float("inf"), "l2": 2.0}


def require_outcome(attack: Attack, found: object, images: Tensor, labels: Tensor) -> Outcome:
    """What an attack returned, as an `Outcome`: tensors like its batch, images that are allowed.

    Args:
        attack: which.
        found: what it returned.
        images: (B, C, H, W) that it was given.
        labels: (B,) that it was given.

    Raises:
        UserError: it is neither images like these nor classes, or has other details than a number
            for every image; says what it is. Or as `require_in_ball`.
    """
    evaluation, outcome = attack.settings, found
    if not isinstance(outcome, Outcome):
        outcome = _as_outcome(evaluation, found, images, labels)
    for key, value, expected in (
        ("images", outcome.images, images),
        ("classes", outcome.classes, labels),
    ):
        if value is not None and not _is_like(value, expected):
            raise _refused(evaluation, f"{key}: must be {_what(expected)}, not {_what(value)}")
    for name, values in outcome.details.items():
        if not _is_detail(values, labels):
            raise _refused(
                evaluation,
                f"details: {name!r} must have a number for every image, of shape "
                f"({len(labels)},), not {_what(values)}",
            )
    share = outcome.details.get(SHARE_RIGHT)
    if share is not None and not ((share >= 0) & (share <= 1)).all():
        raise _refused(evaluation, f"details: {SHARE_RIGHT!r} must be in [0, 1]")
    if outcome.images is not None:
        adversarial = outcome.images.detach()
        if outcome.classes is not None:
            # Where logits are not finite, gradients are not either: what is said of that is that
            # the image has no class.
            has_class = (outcome.classes != NO_CLASS)[:, None, None, None]
            adversarial = adversarial.where(has_class, images)
        require_images(evaluation, adversarial)
        if attack.is_adversarial:
            require_in_ball(evaluation, adversarial, images)
        outcome = replace(outcome, images=adversarial)
    return outcome


def _as_outcome(evaluation: Evaluation, found: object, images: Tensor, labels: Tensor) -> Outcome:
    if _is_like(found, images):
        return Outcome(images=found)
    if _is_like(found, labels):
        return Outcome(classes=found)
    raise _refused(
        evaluation,
        f"must return adversarial images ({images.dtype}, {tuple(images.shape)}), predicted "
        f"classes ({labels.dtype}, {tuple(labels.shape)}) on {images.device}, or an Outcome, not "
        f"{_what(found)}",
    )


def _is_like(found: object, expected: Tensor) -> TypeGuard[Tensor]:
    return (
        isinstance(found, Tensor)
        and (found.shape, found.dtype) == (expected.shape, expected.dtype)
        and found.device == expected.device
    )


def _is_detail(values: object, labels: Tensor) -> bool:
    return (
        isinstance(values, Tensor)
        and values.shape == labels.shape
        and values.device == labels.device
        and not values.is_complex()
    )


def _what(found: object) -> str:
    if isinstance(found, Tensor):
        return f"{found.dtype} of shape {tuple(found.shape)} on {found.device}"
    return type(found).__name__


def require_images(evaluation: Evaluation, found: Tensor) -> None:
    """Refuse images (B, C, H, W) that are none: they must be finite, in [0, 1].

    Raises:
        UserError: some are not; says by how much.
    """
    lowest, highest = found.min().item(), found.max().item()
    if not found.isfinite().all():
        raise _refused(evaluation, "returned images that are not finite (NaN or infinite)")
    if lowest < -TOLERANCE or highest > 1 + TOLERANCE:
        raise _refused(
            evaluation,
            f"returned images with pixels from {lowest:.6g} to {highest:.6g}: must be in [0, 1]",
        )


def require_in_ball(evaluation: Evaluation, found: Tensor, images: Tensor) -> None:
    """Refuse images (B, C, H, W) outside of the ball around `images`.

    It is that of the attack's settings, if these have `norm` (linf or l2) and `epsilon`.

    Raises:
        UserError: some are outside; says how many and by how much.
    """
    norm, epsilon = getattr(evaluation, "norm", None), getattr(evaluation, "epsilon", None)
    if norm not in _ORDERS or epsilon is None:
        return
    distances = torch.linalg.vector_norm((found - images).flatten(1), ord=_ORDERS[norm], dim=1)
    outside = int((distances > float(epsilon) + TOLERANCE).sum())
    if outside:
        raise _refused(
            evaluation,
            f"returned {outside} of {len(images)} images outside of its ball: {norm} distance up "
            f"to {distances.max().item():.6g}, epsilon = {float(epsilon):.6g}",
        )


def require_classes_of(evaluation: Evaluation, predictions: Tensor, classes: int) -> None:
    """Refuse predictions (B,) of classes that the model does not have.

    Raises:
        UserError: there are some; says which.
    """
    strange = predictions[(predictions < NO_CLASS) | (predictions >= classes)]
    if len(strange):
        raise _refused(
            evaluation, f"returned the class {strange[0].item()}; there are {classes}, from 0"
        )


def _refused(evaluation: Evaluation, why: str) -> UserError:
    return UserError(f"attack '{evaluation.kind}' {why}")
