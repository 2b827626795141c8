"""TRADES: clean cross-entropy and a KL term that the attack maximises (Zhang et al., ICML 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import (
    Method,
    Start,
    Step,
    departure,
    forward_twice,
    register,
)
from raat_core.interface.l2 import (
    L2Gradient,
    L2Projection,
    L2Settings,
    l2_gradient,
    l2_projection,
)
from raat_core.interface.losses import kl_divergence
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor


class TradesSettings(L2Settings):
    """Settings of TRADES."""

    name: Literal["trades"] = "trades"
    lam: float = Field(6.0, alias="lambda", ge=0, description="Weight of the KL term.")
    attack_start: Start = departure(
        "uniform", "gaussian", "Start of the inner attack: uniform in the ball, or 0.001 N(0, 1)."
    )
    repeat_forwards: bool = departure(
        False, True, "Forward the clean images once more in training mode for the KL term."
    )
    l2_gradient: L2Gradient | None = l2_gradient("trades")
    l2_projection: L2Projection | None = l2_projection("before-clipping")


@register
class Trades(Method):
    """CE(p(x), y) + lambda KL(p(x) || p(x'))."""

    Settings = TradesSettings
    settings: TradesSettings
    smooths_labels = True

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,), settings = step.views, self.settings
        adversarial = step.attack(
            images, step.labels, objective="kl", start=settings.attack_start, l2=settings.l2
        )
        repeat = settings.repeat_forwards
        clean_logits, clean_again = forward_twice(step, images, repeat)
        adversarial_logits = step.forward(adversarial)
        reference = clean_again()
        return {
            "supervised": step.cross_entropy(clean_logits, step.labels).mean(),
            "kl": settings.lam * kl_divergence(reference, adversarial_logits).mean(),
        }

    def passes(self, steps: int, correct: float) -> Passes:
        # What the attack moves away from is forwarded once.
        return Passes(forwards=1, gradients=steps, updates=2)
