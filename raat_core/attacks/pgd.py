"""Projected gradient descent in l-infinity and l2 balls (Madry et al., ICLR 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from raat_core.errors import UserError
from raat_core.interface.l2 import PLAIN_L2, L2Details, L2Gradient, L2Projection, L2Start
from raat_core.interface.losses import cross_entropy, kl_divergence, margin
from raat_core.interface.step import AttackObjective, Iterate, OnIterate, Start
from raat_core.specs.threat_model import Norm
from raat_core.validation import require_one_of

Logits: TypeAlias = Callable[[Tensor], Tensor]
"""What is attacked: images (B, C, H, W) to logits (B, K), differentiable."""
PerSample: TypeAlias = Callable[[Tensor], Tensor]
"""Logits (B, K) to what is maximised, (B,)."""

GAUSSIAN_START = 0.001
"""Standard deviation of the start noise in TRADES' and MART's code."""


RENORM_OFFSET = 1e-7
"""What `torch.renorm`, by which released code projects, adds to a norm that it divides by."""


@dataclass(frozen=True)
class Divisor:
    """What a sample's gradient g is divided by in an l2 ball: max(||g||, floor) + offset."""

    floor: float = 0.0
    offset: float = 0.0
    of_mean: bool = False
    """g is of the mean loss over all images that are attacked together, not of their sum."""

    def of(self, gradients: Tensor) -> Tensor:
        """For gradients (B, C, H, W) of the sum, (B, 1, 1, 1)."""
        # Dividing the gradients by their number is multiplying these by it.
        count = len(gradients) if self.of_mean else 1
        norms = _l2_norm(gradients, count * self.floor)
        return norms + count * self.offset if self.offset else norms


DIVISORS: dict[L2Gradient, Divisor] = {
    "normalised": Divisor(floor=1e-12),
    "advertorch": Divisor(floor=1e-6, of_mean=True),
    "mart": Divisor(offset=1e-8, of_mean=True),
    "trades": Divisor(offset=1e-8),
    "rebat": Divisor(offset=1e-10, of_mean=True),
}


@dataclass(frozen=True)
class Live:
    """What an attack may be given that is no plain value."""

    objective: PerSample | None = None
    """In place of the named one."""
    radii: Tensor | None = None
    """(B,): by what each sample's ball and steps are scaled."""
    on_iterate: OnIterate | None = None
    on_gradient: Callable[[Tensor], None] | None = None
    """Is shown the gradient (B, C, H, W) of every step."""

    @property
    def can_be_recorded(self) -> bool:
        """Whether a replay would do the same: functions may hold tensors of one step."""
        return self.objective is None and self.on_iterate is None and self.on_gradient is None


NOTHING = Live()


@dataclass(frozen=True)
class Pgd:
    """An attack's parameters; pixels are in [0, 1].

    `start`: "uniform" in the ball, clipped to [0, 1]; "gaussian": 0.001 N(0, 1), unclipped as
    in TRADES' and MART's code (the first step clips); "clean": the images. Without `in_ball`,
    steps are clipped to [0, 1] alone. `l2` counts in l2 balls alone.

    Raises:
        UserError: an unknown norm, objective or start; says which there are.
    """

    norm: Norm
    epsilon: float
    step_size: float
    steps: int
    objective: AttackObjective = "cross-entropy"
    start: Start = "uniform"
    in_ball: bool = True
    l2: L2Details = PLAIN_L2

    def __post_init__(self) -> None:
        for key, allowed in (("norm", Norm), ("objective", AttackObjective), ("start", Start)):
            require_one_of(f"attack: {key}", getattr(self, key), allowed)
        if self.l2.start is not None:
            require_one_of("attack: l2.start", self.l2.start, L2Start)
        require_one_of("attack: l2.gradient", self.l2.gradient, L2Gradient)
        require_one_of("attack: l2.projection", self.l2.projection, L2Projection)
        if not isinstance(self.steps, int) or self.steps < 0:
            raise UserError(f"attack: steps = {self.steps!r}: must be a whole number of at least 0")
        for key in ("epsilon", "step_size"):
            value = getattr(self, key)
            if not 0 <= value < math.inf:
                raise UserError(f"attack: {key} = {value!r}: must be a number of at least 0")

    def run(
        self,
        model: Logits,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        live: Live = NOTHING,
    ) -> Tensor:
        """Adversarial images, detached, in the ball around `images` and in [0, 1].

        Args:
            model: differentiable logits; its mode is the caller's business.
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64, or (B, K) probabilities; for the "kl" objective they are not used.
            generator: for the random start, on the images' device.
            live: tensors and functions that go with this batch.
        """
        return self.ascend(model, images, labels, self.perturb(images, generator, live), live)

    def perturb(self, images: Tensor, generator: torch.Generator, live: Live = NOTHING) -> Tensor:
        """The images where the attack starts; arguments as for `run`."""
        start = self._start_here
        if start == "clean":
            return images
        if start == "pixel-box":
            return self.project(images, _noise(images).uniform_(0, 1, generator=generator), live)
        if start == "gaussian":
            return images + GAUSSIAN_START * _noise(images).normal_(generator=generator)
        return (images + self._in_ball(start, images, generator, live)).clamp(0, 1)

    def ascend(
        self,
        model: Logits,
        images: Tensor,
        labels: Tensor,
        perturbed: Tensor,
        live: Live = NOTHING,
    ) -> Tensor:
        """All steps, from `perturbed` on; without random draws. Otherwise as `run`."""
        objective = live.objective or self._objective(model, images, labels)
        stopped: Tensor | None = None
        for number in range(self.steps):
            perturbed = perturbed.detach().requires_grad_()
            with torch.enable_grad():
                logits = model(perturbed)
                # The sum: a sample's gradient is its own alone.
                values = _per_sample(objective(logits), logits).sum()
                (gradient,) = torch.autograd.grad(values, perturbed)
            if live.on_gradient is not None:
                live.on_gradient(gradient)
            perturbed = perturbed.detach()
            moved = self.project(images, perturbed + self._ascent(gradient, live), live)
            if live.on_iterate is not None:
                iterate = Iterate(number, perturbed, logits.detach())
                stopped = _either(stopped, _stops(live.on_iterate(iterate), images))
            if stopped is not None:
                moved = perturbed.where(stopped[:, None, None, None], moved)
            perturbed = moved
        return perturbed.detach()

    def project(self, images: Tensor, perturbed: Tensor, live: Live = NOTHING) -> Tensor:
        """The nearest images in the ball around `images`, and in [0, 1]."""
        if not self.in_ball:
            return perturbed.clamp(0, 1)
        epsilon = _scaled(self.epsilon, live)
        if self.norm == "linf":
            perturbed = torch.clamp(perturbed, images - epsilon, images + epsilon)
            return perturbed.clamp(0, 1)
        if self.l2.projection == "before-clipping":
            delta = perturbed - images
            norms = _l2_norm(delta, 0.0)
            shrunk = delta * (epsilon / (norms + RENORM_OFFSET))
            return (images + shrunk.where(norms > epsilon, delta)).clamp(0, 1)
        # Clipping first keeps both: shrinking towards an image in [0, 1] stays in [0, 1].
        delta = perturbed.clamp(0, 1) - images
        return images + delta * (epsilon / _l2_norm(delta)).clamp(max=1)

    def _objective(self, model: Logits, images: Tensor, labels: Tensor) -> PerSample:
        if self.objective == "kl":
            with torch.no_grad():
                reference = model(images)
            return lambda logits: kl_divergence(reference, logits)
        per_sample = {"cross-entropy": cross_entropy, "margin": margin}[self.objective]
        if self.objective == "margin" and labels.is_floating_point():
            raise UserError("attack: objective = 'margin': needs classes, not probabilities")
        return lambda logits: per_sample(logits, labels)

    @property
    def _start_here(self) -> Start | L2Start:
        """The start in this ball."""
        return self.l2.start if self.norm == "l2" and self.l2.start else self.start

    def _in_ball(
        self, start: Start | L2Start, images: Tensor, generator: torch.Generator, live: Live
    ) -> Tensor:
        """A random perturbation in the ball: uniform, or at a uniform distance."""
        noise = _noise(images)
        if self.norm == "linf":
            if live.radii is not None:
                epsilon = _scaled(self.epsilon, live)
                return epsilon * noise.uniform_(-1, 1, generator=generator)
            return noise.uniform_(-self.epsilon, self.epsilon, generator=generator)
        direction = noise.normal_(generator=generator)
        direction = direction / _l2_norm(direction)
        radius = torch.empty(len(images), 1, 1, 1, dtype=images.dtype, device=images.device)
        radius.uniform_(0, 1, generator=generator)
        if start == "uniform":
            radius = radius ** (1 / math.prod(images.shape[1:]))
        return _scaled(self.epsilon, live) * radius * direction

    def _ascent(self, gradient: Tensor, live: Live) -> Tensor:
        step_size = _scaled(self.step_size, live)
        if self.norm == "linf":
            return step_size * gradient.sign()
        return step_size * gradient / DIVISORS[self.l2.gradient].of(gradient)


def _noise(images: Tensor) -> Tensor:
    """To be filled with draws; like the images, (B, C, H, W).

    Shape and layout are spelled out: `empty_like` of a channels_last tensor would draw other noise
    for the same generator.
    """
    return torch.empty(images.shape, dtype=images.dtype, device=images.device)


def _scaled(value: float, live: Live) -> float | Tensor:
    """A radius or step for every sample, (B, 1, 1, 1), if they have radii of their own."""
    return value if live.radii is None else value * live.radii[:, None, None, None]


def _per_sample(values: object, logits: Tensor) -> Tensor:
    """What an objective returned, which must be a value per sample."""
    if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
        found = f"{tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise UserError(
            f"attack: the objective must return a value per sample, a tensor of shape "
            f"({len(logits)},), not {found}"
        )
    return values


def _stops(asked: object, images: Tensor) -> Tensor | None:
    """What `on_iterate` returned."""
    if asked is None:
        return None
    if not isinstance(asked, Tensor) or asked.dtype != torch.bool or asked.shape != (len(images),):
        raise UserError(
            f"attack: on_iterate must return None, or a bool tensor of shape ({len(images)},) that "
            f"says which samples stop"
        )
    return asked


def _either(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _l2_norm(tensor: Tensor, floor: float = 1e-12) -> Tensor:
    """(B, C, H, W) -> (B, 1, 1, 1), at least `floor`."""
    norms: Tensor = tensor.flatten(1).norm(dim=1)
    return norms.clamp(min=floor)[:, None, None, None]
