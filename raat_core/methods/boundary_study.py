"""The training of Figure 2 (Section 2.1): PGD-AT with the perturbation chosen by kind of sample.

Misclassified samples are trained clean, as MMA does. A boundary sample is classified correctly,
but not under an attack within `threshold` times epsilon; the rest are non-boundary samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field

from raat_core.interface import Method, MethodSettings, Step, register
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor

Perturbation: TypeAlias = Literal["full", "threshold", "zero"]


class BoundaryStudySettings(MethodSettings):
    """Settings of Figure 2's training; full perturbation for both kinds is its baseline."""

    name: Literal["boundary-study"] = "boundary-study"
    threshold: float = Field(
        0.1, gt=0, lt=1, description="Radius that tells boundary samples, a fraction of epsilon."
    )
    boundary: Perturbation = Field("full", description="Perturbation of boundary samples.")
    non_boundary: Perturbation = Field("full", description="Perturbation of non-boundary samples.")


@register
class BoundaryStudy(Method):
    """CE(p(x~), y) with x~ at zero, threshold or full perturbation."""

    Settings = BoundaryStudySettings
    settings: BoundaryStudySettings
    smooths_labels = True

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,), labels, settings = step.views, step.labels, self.settings
        reduced = step.attack(images, labels, radius=settings.threshold, name="threshold")
        perturbed = {"zero": images, "threshold": reduced}
        if "full" in (settings.boundary, settings.non_boundary):
            perturbed["full"] = step.attack(images, labels)
        correct = step.logits(images).argmax(1) == labels
        boundary = correct & (step.logits(reduced).argmax(1) != labels)
        chosen = perturbed[settings.boundary].where(
            boundary[:, None, None, None], perturbed[settings.non_boundary]
        )
        chosen = chosen.where(correct[:, None, None, None], images)
        return {"supervised": step.cross_entropy(step.forward(chosen), labels).mean()}

    def passes(self, steps: int, correct: float) -> Passes:
        attacks = 2 if "full" in (self.settings.boundary, self.settings.non_boundary) else 1
        return Passes(forwards=2, gradients=attacks * steps, updates=1)
