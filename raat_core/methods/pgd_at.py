"""PGD-AT: cross-entropy on adversarial images (Madry et al., ICLR 2018; Table 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from raat_core.interface import Method, MethodSettings, Step, register
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor


class PgdAtSettings(MethodSettings):
    """PGD-AT has no settings of its own."""

    name: Literal["pgd-at"] = "pgd-at"


@register
class PgdAt(Method):
    """CE(p(x'), y)."""

    Settings = PgdAtSettings
    smooths_labels = True

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,) = step.views
        adversarial = step.attack(images, step.labels)
        return {"supervised": step.cross_entropy(step.forward(adversarial), step.labels).mean()}

    def passes(self, steps: int, correct: float) -> Passes:
        return Passes(gradients=steps, updates=1)
