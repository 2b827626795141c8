"""Cons-AT: consistency between the attacks on two augmentations (Tack et al., AAAI 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import Method, Step, departure, register
from raat_core.interface.l2 import L2Gradient, L2Settings, L2Start, l2_gradient, l2_start
from raat_core.interface.losses import Numerics, jensen_shannon
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor


class ConsAtSettings(L2Settings):
    """Settings of Cons-AT."""

    name: Literal["cons-at"] = "cons-at"
    lam: float = Field(1.0, alias="lambda", ge=0, description="Weight of the JS term.")
    temperature: float = departure(
        1.0, 0.5, "Both sides of the JS term are softmax(logits / temperature).", gt=0
    )
    numerics: Numerics = departure(
        "exact", "released", "Exact logarithms, or the released code's floor of 1e-8 in them."
    )
    l2_start: L2Start | None = l2_start("pixel-box")
    l2_gradient: L2Gradient | None = l2_gradient("advertorch")


@register
class ConsAt(Method):
    """CE(p(x'), y) on both augmentations + lambda JS(p(x'_1) || p(x'_2))."""

    Settings = ConsAtSettings
    settings: ConsAtSettings
    smooths_labels = True
    views = 2

    def loss(self, step: Step) -> dict[str, Tensor]:
        images, labels = step.stacked_views()
        logits = step.forward(step.attack(images, labels, l2=self.settings.l2))
        first, second = (logits / self.settings.temperature).log_softmax(1).chunk(2)
        consistency = jensen_shannon(first, second, self.settings.numerics).mean()
        return {
            "supervised": step.cross_entropy(logits, labels).mean(),
            "consistency": self.settings.lam * consistency,
        }

    def passes(self, steps: int, correct: float) -> Passes:
        return Passes(gradients=2 * steps, updates=2)
