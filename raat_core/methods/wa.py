"""WA: PGD-AT whose weights are averaged (Izmailov et al., UAI 2018; Section 5.3).

A recipe's `averaging: {kind: ema}` on PGD-AT gives the same bits. WA stays a method because its
cells have its settings in their digests, and the released code's side forwards are settings of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from raat_core.interface import Step, register
from raat_core.interface.operations import Passes
from raat_core.methods.averaging import Averaging, AveragingSettings

if TYPE_CHECKING:
    from torch import Tensor


class WeightAveragingSettings(AveragingSettings):
    """Settings of WA."""

    name: Literal["wa"] = "wa"


@register
class WeightAveraging(Averaging):
    """CE(p(x'), y); the average of the weights is reported."""

    Settings = WeightAveragingSettings
    settings: WeightAveragingSettings
    smooths_labels = True

    def objective(self, step: Step) -> dict[str, Tensor]:
        (images,) = step.views
        adversarial = self.attacked(step, images, step.labels)
        return {"supervised": step.cross_entropy(step.forward(adversarial), step.labels).mean()}

    def passes(self, steps: int, correct: float) -> Passes:
        return Passes(gradients=steps, updates=1) + self.passes_of_repeating(1, 1)
