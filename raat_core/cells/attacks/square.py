"""Settings of Square alone (Andriushchenko et al., ECCV 2020)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from raat_core.cells.attacks.limits import check_square
from raat_core.interface.attack import AttackSettings
from raat_core.interface.operations import ImageShape
from raat_core.specs.threat_model import Norm, check_epsilon
from raat_core.validation import LARGEST_COUNT, PixelFraction


class SquareEvaluation(AttackSettings):
    """Square, which asks for logits alone, as AutoAttack runs it."""

    in_label: ClassVar[tuple[str, ...]] = ("queries",)

    kind: Literal["square"] = "square"
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    queries: int = Field(
        5000, ge=1, le=LARGEST_COUNT, description="Forwards of an image, for each start."
    )
    restarts: int = Field(
        1, ge=1, le=LARGEST_COUNT, description="Random starts; one success counts."
    )

    @model_validator(mode="after")
    def _check(self) -> SquareEvaluation:
        check_epsilon(self.norm, self.epsilon)
        return self

    @property
    def label(self) -> str:
        """See `AttackSettings.label`."""
        return f"square-{self.queries}"

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        restarts = "" if self.restarts == 1 else f" and {self.restarts} starts"
        return f"Square, {self.queries} queries{restarts}"

    def check(self, classes: int, image_shape: ImageShape) -> None:
        """See `AttackSettings.check`."""
        check_square(self.norm, image_shape, "norm: linf takes any")
