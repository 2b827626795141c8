"""A model as attacks of other authors' packages get it: it counts what they ask of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Watched:
    """Logits of a model; looks for a request to stop before every forward.

    It is no module: packages that ask one for its mode leave that of the model alone.
    """

    def __init__(self, model: nn.Module, check_stop: Callable[[], None]) -> None:
        self.model, self.check_stop = model, check_stop
        self.forwards = self.gradients = 0
        """Images that went through it, and gradients with respect to one image."""
        self.on_gradient: Callable[[Tensor], None] | None = None
        """Is shown every gradient (B, C, H, W)."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        self.check_stop()
        self.forwards += len(images)
        if images.requires_grad and torch.is_grad_enabled():
            # A hook on the images themselves would be called for later forwards of them, too.
            images = images.view_as(images)
            images.register_hook(self._count)  # type: ignore[no-untyped-call]
        logits: Tensor = self.model(images)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)
        if self.on_gradient is not None:
            self.on_gradient(gradient)


class ZeroAtStart:
    """Whether the first gradients of an attack, several for randomised models, are exactly zero."""

    def __init__(self, images: Tensor, gradients: int) -> None:
        self.zero = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self._left, self._total = gradients, gradients

    def __call__(self, gradient: Tensor) -> None:
        """Look at a gradient (B, C, H, W)."""
        if self._left == 0 or len(gradient) != len(self.zero):
            return
        is_zero = (gradient.flatten(1) == 0).all(1)
        self.zero = is_zero if self._left == self._total else self.zero & is_zero
        self._left -= 1
