"""Settings of auto-PGD alone (Croce & Hein, ICML 2020)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from raat_core.cells.attacks.autoattack import AttackName
from raat_core.cells.attacks.limits import check_classes
from raat_core.interface.attack import AttackSettings
from raat_core.interface.operations import ImageShape
from raat_core.specs.threat_model import Norm, check_epsilon
from raat_core.validation import LARGEST_COUNT, PixelFraction

_NAMES: dict[str, AttackName] = {
    "cross-entropy": "apgd-ce",
    "dlr": "apgd-dlr",
    "dlr-targeted": "apgd-t",
}


class ApgdEvaluation(AttackSettings):
    """Auto-PGD, which chooses its step sizes itself, by its authors' package."""

    in_label: ClassVar[tuple[str, ...]] = ("objective", "steps")

    kind: Literal["apgd"] = "apgd"
    objective: Literal["cross-entropy", "dlr", "dlr-targeted"] = Field(
        "cross-entropy",
        description="What is maximised; dlr-targeted: towards each of up to nine other classes.",
    )
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    steps: int = Field(100, ge=1, le=LARGEST_COUNT, description="Number of steps.")
    restarts: int = Field(
        1, ge=1, le=LARGEST_COUNT, description="Random starts (of each target); one success counts."
    )

    @model_validator(mode="after")
    def _check(self) -> ApgdEvaluation:
        check_epsilon(self.norm, self.epsilon)
        return self

    @property
    def name(self) -> AttackName:
        """What AutoAttack calls it."""
        return _NAMES[self.objective]

    @property
    def label(self) -> str:
        """See `AttackSettings.label`."""
        return f"{self.name}-{self.steps}"

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        restarts = "" if self.restarts == 1 else f" and {self.restarts} starts"
        return f"APGD, {self.steps} steps{restarts} on the {self.objective}"

    def check(self, classes: int, image_shape: ImageShape) -> None:
        """See `AttackSettings.check`."""
        check_classes(self.name, classes, "objective: cross-entropy takes any")
