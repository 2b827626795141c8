"""The fast minimum-norm attack (Pintor et al., NeurIPS 2021, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raat_core.interface.losses import margin
from raat_core.specs.threat_model import Norm

LAST_STEP, LAST_GAMMA = 0.01, 0.001
"""At the end of the cosine: the step as a part of the first one, and gamma."""
_SMALL = 1e-12


@dataclass(frozen=True)
class Nearest:
    """The nearest misclassified image that was found of each."""

    distance: Tensor
    """(B,) in the attack's norm; infinite where none was found."""
    images: Tensor
    """(B, C, H, W) in [0, 1]; the clean ones where none was found."""
    classes: Tensor
    """(B,) int64 predicted there; of the clean images where none was found."""
    zero_gradients: Tensor
    """(B,) int32: how many of the steps had a gradient that is zero everywhere."""
    finite: Tensor
    """(B,) whether all logits on the way were."""


@dataclass(frozen=True)
class Fmn:
    """Steps along the gradient of the margin, in a ball whose radius closes in on the distance.

    While no misclassified image is known, the radius is where the margin, taken to be linear, is
    zero, and at least gamma more than before; then it shrinks by gamma while the iterate is
    misclassified and grows by gamma while it is not. Steps and gamma fall along half a cosine.

    "At least gamma more" is not the paper's. Without it, 34 of 360 images of digits were never
    misclassified in l2 in 100 steps: at the edge of [0, 1], or on a linear piece, the iterate comes
    to the boundary and not across.
    """

    norm: Norm
    steps: int = 100
    first_step: float = 1.0
    gamma: float = 0.05

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        check_stop: Callable[[], None] = lambda: None,
    ) -> Nearest:
        """Attack a batch; without random draws.

        Args:
            model: in evaluation mode, logits of images in [0, 1].
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64.
            check_stop: called before every step; may raise to stop.
        """
        farthest = self._length(torch.maximum(images, 1 - images))
        delta = torch.zeros_like(images)
        radius = torch.zeros_like(farthest)
        found = torch.zeros_like(labels, dtype=torch.bool)
        finite = torch.ones_like(found)
        classes = zero = torch.zeros_like(labels)
        best, shortest = delta, farthest
        for number in range(self.steps):
            check_stop()
            logits, gradient = _ascent(model, images + delta, labels)
            predicted, value = logits.argmax(1), margin(logits, labels)
            finite = finite & logits.isfinite().all(1)
            classes = predicted if number == 0 else classes
            zero = zero + (gradient.flatten(1) == 0).all(dim=1)
            is_wrong, length = predicted != labels, self._length(delta)
            is_better = is_wrong & (length <= shortest)
            shortest = length.where(is_better, shortest)
            best = delta.where(_wide(is_better), best)
            classes = predicted.where(is_better, classes)
            found = found | is_wrong
            cosine = (1 + math.cos(math.pi * number / self.steps)) / 2
            gamma = LAST_GAMMA + (self.gamma - LAST_GAMMA) * cosine
            boundary = length + value.abs() / self._dual(gradient).clamp(min=_SMALL)
            outside = radius * (1 + gamma)
            outside = torch.where(found, outside, torch.maximum(outside, boundary))
            inside = torch.minimum(radius * (1 - gamma), self._length(best))
            radius = torch.minimum(torch.where(is_wrong, inside, outside), farthest)
            step = self.first_step * (LAST_STEP + (1 - LAST_STEP) * cosine)
            steepest = gradient / _wide(_l2(gradient).clamp(min=_SMALL))
            delta = self._project(delta + step * steepest, radius)
            delta = (images + delta).clamp(0, 1) - images
        distance = shortest.where(found, math.inf)
        return Nearest(distance, (images + best).clamp(0, 1), classes, zero.int(), finite)

    def _length(self, delta: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,) in the norm."""
        return delta.flatten(1).abs().amax(1) if self.norm == "linf" else _l2(delta)

    def _dual(self, gradient: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,) in the norm that goes with distances to a plane."""
        return gradient.flatten(1).abs().sum(1) if self.norm == "linf" else _l2(gradient)

    def _project(self, delta: Tensor, radius: Tensor) -> Tensor:
        wide = _wide(radius)
        if self.norm == "linf":
            return torch.maximum(torch.minimum(delta, wide), -wide)
        return delta * (wide / _wide(_l2(delta).clamp(min=_SMALL))).clamp(max=1)


def _ascent(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, K), and the gradient of their margin (B, C, H, W)."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        (gradient,) = torch.autograd.grad(margin(logits, labels).sum(), images)
    return logits.detach(), gradient


def _l2(tensor: Tensor) -> Tensor:
    lengths: Tensor = tensor.flatten(1).norm(dim=1)
    return lengths


def _wide(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return values[:, None, None, None]
