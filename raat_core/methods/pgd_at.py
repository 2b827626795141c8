"""PGD-AT: cross-entropy on adversarial images (Madry et al., ICLR 2018; Table 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from raat_core.interface import Method, Step, register
from raat_core.interface.l2 import L2Gradient, L2Settings, L2Start, l2_gradient, l2_start
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor


class PgdAtSettings(L2Settings):
    """PGD-AT has no settings of its own but of its attack in l2 balls."""

    name: Literal["pgd-at"] = "pgd-at"
    l2_start: L2Start | None = l2_start("pixel-box")
    l2_gradient: L2Gradient | None = l2_gradient("advertorch")


@register
class PgdAt(Method):
    """CE(p(x'), y)."""

    Settings = PgdAtSettings
    settings: PgdAtSettings
    smooths_labels = True

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,) = step.views
        adversarial = step.attack(images, step.labels, l2=self.settings.l2)
        return {"supervised": step.cross_entropy(step.forward(adversarial), step.labels).mean()}

    def passes(self, steps: int, correct: float) -> Passes:
        return Passes(gradients=steps, updates=1)
