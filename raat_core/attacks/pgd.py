"""Projected gradient descent in l-infinity and l2 balls (Madry et al., ICLR 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from raat_core.interface.losses import cross_entropy, kl_divergence, margin
from raat_core.interface.step import AttackObjective, Start
from raat_core.specs.threat_model import Norm

Logits: TypeAlias = Callable[[Tensor], Tensor]
"""What is attacked: images (B, C, H, W) to logits (B, K), differentiable."""

GAUSSIAN_START = 0.001
"""Standard deviation of the start noise in TRADES' and MART's code."""


@dataclass(frozen=True)
class Pgd:
    """An attack's parameters; pixels are in [0, 1].

    `start`: "uniform" in the ball, clipped to [0, 1], or "gaussian": 0.001 N(0, 1), unclipped as
    in TRADES' and MART's code (the first step clips).
    """

    norm: Norm
    epsilon: float
    step_size: float
    steps: int
    objective: AttackObjective = "cross-entropy"
    start: Start = "uniform"

    def run(
        self, model: Logits, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Adversarial images, detached, in the ball around `images` and in [0, 1].

        Args:
            model: differentiable logits; its mode is the caller's business.
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64; for the "kl" objective they are not used.
            generator: for the random start, on the images' device.
        """
        return self.ascend(model, images, labels, self.perturb(images, generator))

    def perturb(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images where the attack starts; arguments as for `run`."""
        perturbed = images + self._start(images, generator)
        return perturbed.clamp(0, 1) if self.start == "uniform" else perturbed

    def ascend(self, model: Logits, images: Tensor, labels: Tensor, perturbed: Tensor) -> Tensor:
        """All steps, from `perturbed` on; without random draws. Otherwise as `run`."""
        objective = self._objective(model, images, labels)
        for _ in range(self.steps):
            perturbed = perturbed.detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(objective(perturbed), perturbed)
            perturbed = self._project(images, perturbed.detach() + self._ascent(gradient))
        return perturbed.detach()

    def _objective(
        self, model: Logits, images: Tensor, labels: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """The sum over samples of what is maximised: a sample's gradient is its own alone."""
        if self.objective == "kl":
            with torch.no_grad():
                reference = model(images)
            return lambda perturbed: kl_divergence(reference, model(perturbed)).sum()
        per_sample = cross_entropy if self.objective == "cross-entropy" else margin
        return lambda perturbed: per_sample(model(perturbed), labels).sum()

    def _start(self, images: Tensor, generator: torch.Generator) -> Tensor:
        # Shape and layout are spelled out: `empty_like` of a channels_last tensor would draw
        # other noise for the same generator.
        def noise() -> Tensor:
            return torch.empty(images.shape, dtype=images.dtype, device=images.device)

        if self.start == "gaussian":
            return GAUSSIAN_START * noise().normal_(generator=generator)
        if self.norm == "linf":
            return noise().uniform_(-self.epsilon, self.epsilon, generator=generator)
        direction = noise().normal_(generator=generator)
        direction = direction / _l2_norm(direction)
        dimension = math.prod(images.shape[1:])
        radius = torch.empty(len(images), 1, 1, 1, dtype=images.dtype, device=images.device)
        radius.uniform_(0, 1, generator=generator)
        return self.epsilon * radius ** (1 / dimension) * direction

    def _ascent(self, gradient: Tensor) -> Tensor:
        if self.norm == "linf":
            return self.step_size * gradient.sign()
        return self.step_size * gradient / _l2_norm(gradient)

    def _project(self, images: Tensor, perturbed: Tensor) -> Tensor:
        if self.norm == "linf":
            perturbed = torch.clamp(perturbed, images - self.epsilon, images + self.epsilon)
            return perturbed.clamp(0, 1)
        # Clipping first keeps both: shrinking towards an image in [0, 1] stays in [0, 1].
        delta = perturbed.clamp(0, 1) - images
        return images + delta * (self.epsilon / _l2_norm(delta)).clamp(max=1)


def _l2_norm(tensor: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, 1, 1), kept from zero."""
    norms: Tensor = tensor.flatten(1).norm(dim=1)
    return norms.clamp(min=1e-12)[:, None, None, None]
