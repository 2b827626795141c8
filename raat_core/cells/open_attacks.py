"""Settings of attacks beside the paper's: a minimum-norm attack and a proxy of AutoAttack."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from raat_core.interface.attack import AttackSettings
from raat_core.interface.operations import ImageShape
from raat_core.specs.threat_model import Norm, check_epsilon
from raat_core.validation import LARGEST_COUNT, PixelFraction, format_fraction


class _InBall(AttackSettings):
    """An attack of which it is asked who withstands it in a ball."""

    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")

    @model_validator(mode="after")
    def _check(self) -> _InBall:
        check_epsilon(self.norm, self.epsilon)
        return self


class FmnEvaluation(_InBall):
    """The fast minimum-norm attack: the nearest image that is misclassified, however far it is.

    What it does depends on `norm` alone; its accuracy is that of the images that have none within
    `epsilon`.
    """

    in_label: ClassVar[tuple[str, ...]] = ("steps",)

    kind: Literal["fmn"] = "fmn"
    steps: int = Field(100, ge=1, le=LARGEST_COUNT, description="Number of steps.")
    first_step: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="l2 length of the first step; along half a cosine it falls to a hundredth.",
    )
    gamma: float = Field(
        0.05, ge=0.001, lt=1, description="By what part the ball changes at first; at last 0.001."
    )

    @property
    def label(self) -> str:
        """See `AttackSettings.label`."""
        return f"fmn-{self.steps}"

    @property
    def accuracy_is(self) -> str:
        """See `AttackSettings.accuracy_is`."""
        return f"of images whose distance is above epsilon = {format_fraction(self.epsilon)}"

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        return f"minimum-norm attack FMN, {self.steps} steps"


class CrEvaluation(_InBall):
    """Constraint relaxation, the proxy of AutoAttack of FastAT Benchmark; in linf alone."""

    kind: Literal["cr"] = "cr"
    iterations: int = Field(
        150, ge=1, le=LARGEST_COUNT, description="Steps towards each class, in each round."
    )
    cycle: int = Field(
        30, ge=3, le=LARGEST_COUNT, description="Steps from one relaxation of the ball to the next."
    )
    targets: int = Field(
        3, ge=1, le=LARGEST_COUNT, description="Classes attacked towards, the likeliest first."
    )
    rounds: int = Field(
        5,
        ge=1,
        le=LARGEST_COUNT,
        description="Random starts; after the first, of images that came near another class.",
    )

    def check(self, classes: int, image_shape: ImageShape) -> None:
        """See `AttackSettings.check`."""
        if self.norm != "linf":
            raise ValueError(f"norm = '{self.norm}': must be linf, the only ball it is defined in")

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        return (
            f"constraint relaxation (CR), {self.iterations} steps towards each of {self.targets} "
            f"classes, up to {self.rounds} rounds"
        )
