"""MART: boosted cross-entropy and a KL term weighted by doubt (Wang et al., ICLR 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import Method, Start, Step, departure, register
from raat_core.interface.l2 import (
    L2Gradient,
    L2Projection,
    L2Settings,
    l2_gradient,
    l2_projection,
)
from raat_core.interface.losses import Numerics, boosted_cross_entropy, doubt, kl_divergence
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor


class MartSettings(L2Settings):
    """Settings of MART."""

    name: Literal["mart"] = "mart"
    lam: float = Field(6.0, alias="lambda", ge=0, description="Weight of the KL term.")
    attack_start: Start = departure(
        "uniform", "gaussian", "Start of the inner attack: uniform in the ball, or 0.001 N(0, 1)."
    )
    numerics: Numerics = departure(
        "exact", "released", "Exact logarithms, or the released code's small constants in them."
    )
    l2_gradient: L2Gradient | None = l2_gradient("mart")
    l2_projection: L2Projection | None = l2_projection("before-clipping")


def weighted_kl(clean: Tensor, adversarial: Tensor, labels: Tensor, numerics: Numerics) -> Tensor:
    """KL(p(x) || p(x')) (1 - p_y(x)) of logits (B, K), per sample; gradients flow into both."""
    divergence = kl_divergence(clean, adversarial, numerics)
    return divergence * doubt(clean, labels, numerics)


@register
class Mart(Method):
    """BCE(p(x'), y) + lambda KL(p(x) || p(x')) (1 - p_y(x))."""

    Settings = MartSettings
    settings: MartSettings

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,), labels, settings = step.views, step.labels, self.settings
        numerics = settings.numerics
        adversarial = step.attack(images, labels, start=settings.attack_start, l2=settings.l2)
        clean_logits = step.forward(images)
        adversarial_logits = step.forward(adversarial)
        kl = weighted_kl(clean_logits, adversarial_logits, labels, numerics).mean()
        return {
            "supervised": boosted_cross_entropy(adversarial_logits, labels, numerics).mean(),
            "kl": settings.lam * kl,
        }

    def passes(self, steps: int, correct: float) -> Passes:
        return Passes(gradients=steps, updates=2)
