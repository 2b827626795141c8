"""Attacks that are not part of the package: Square once more, and one signed step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import Attack, AttackBatch, AttackSettings, register
from raat_core.interface.losses import cross_entropy
from raat_core.specs.threat_model import Norm
from raat_core.validation import PixelFraction

if TYPE_CHECKING:
    from torch import Tensor, nn


class SquareSettings(AttackSettings):
    """Settings of Square."""

    kind: Literal["my-square"] = "my-square"
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    queries: int = Field(5000, ge=1, description="Forwards an image.")


@register
class Square(Attack):
    """Square (Andriushchenko et al., ECCV 2020), as in AutoAttack's authors' package."""

    Settings = SquareSettings
    settings: SquareSettings
    packages = ("pyautoattack",)

    def run(self, model: nn.Module, batch: AttackBatch) -> Tensor:
        from pyautoattack.square import SquareAttack

        def logits(images: Tensor) -> Tensor:
            batch.check_stop()
            found: Tensor = model(images)
            return found

        attack = SquareAttack(
            logits,
            norm={"linf": "Linf", "l2": "L2"}[self.settings.norm],
            eps=float(self.settings.epsilon),
            n_queries=self.settings.queries,
            seed=batch.draws("square").generator.initial_seed() % 2**31,
        )
        found: Tensor = attack.perturb(batch.images.contiguous(), batch.labels)
        return found


class FgsmSettings(AttackSettings):
    """Settings of one signed step, in an l-infinity ball."""

    kind: Literal["fgsm"] = "fgsm"
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    random_start: bool = Field(False, description="Start somewhere in the ball.")
    norm: Literal["linf"] = "linf"


@register
class Fgsm(Attack):
    """One signed step (Goodfellow et al., ICLR 2015), or one from a random start."""

    Settings = FgsmSettings
    settings: FgsmSettings

    def run(self, model: nn.Module, batch: AttackBatch) -> Tensor:
        import torch

        epsilon, images = float(self.settings.epsilon), batch.images
        start = images
        if self.settings.random_start:
            noise = batch.draws("start").uniform(*images.shape, low=-epsilon, high=epsilon)
            start = (images + noise).clamp(0, 1)
        start.requires_grad_()
        loss = cross_entropy(model(start), batch.labels).sum()
        (gradient,) = torch.autograd.grad(loss, start)
        moved = start + epsilon * gradient.sign()
        return moved.clamp(images - epsilon, images + epsilon).clamp(0, 1)
