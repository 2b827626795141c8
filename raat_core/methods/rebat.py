"""ReBAT: weight averaging, and the averaged model as a teacher (Wang et al., NeurIPS 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import Step, register
from raat_core.interface.operations import Passes
from raat_core.methods.averaging import ConsultedAverage, ConsultedAverageSettings

if TYPE_CHECKING:
    from torch import Tensor


class RebatSettings(ConsultedAverageSettings):
    """Settings of ReBAT."""

    name: Literal["rebat"] = "rebat"
    lam: float = Field(
        1.0, alias="lambda", ge=0, description="Weight of the KL term, once averaging has started."
    )


@register
class Rebat(ConsultedAverage):
    """CE(p(x'), y) + lambda KL(p_average(x') || p(x')); the average is reported."""

    Settings = RebatSettings
    settings: RebatSettings
    smooths_labels = True

    def objective(self, step: Step) -> dict[str, Tensor]:
        (images,) = step.views
        adversarial = self.attacked(step, images, step.labels)
        logits = step.forward(adversarial)
        return {
            "supervised": step.cross_entropy(logits, step.labels).mean(),
            "kl": self.settings.lam * self.divergence(step, adversarial, logits),
        }

    def passes(self, steps: int, correct: float) -> Passes:
        """As once averaging has started; before, the average is not asked."""
        asked = Passes(forwards=1, gradients=steps, updates=1)
        return asked + self.passes_of_repeating(1, 1)
