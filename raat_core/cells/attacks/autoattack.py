"""AutoAttack's settings: which of its authors' attacks run, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import Field, model_validator

from raat_core.cells.attacks.limits import FEWEST_CLASSES, check_classes, check_square
from raat_core.interface.attack import AttackSettings
from raat_core.interface.operations import ImageShape
from raat_core.specs.threat_model import Norm, check_epsilon
from raat_core.validation import PixelFraction, added

AttackName: TypeAlias = Literal["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
NAMES: tuple[AttackName, ...] = get_args(AttackName)
VERSIONS: dict[str, tuple[AttackName, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
"""The authors' lists."""
ON_FEW_CLASSES: tuple[AttackName, ...] = ("apgd-ce", "fab-t", "square")
"""In place of the standard version, where there are too few classes for its `apgd-t`."""


class AutoAttackEvaluation(AttackSettings):
    """AutoAttack by its authors' package, on every batch by itself.

    On two or three classes the standard version is the custom one of `ON_FEW_CLASSES`.
    """

    in_label: ClassVar[tuple[str, ...]] = ("version",)

    kind: Literal["autoattack"] = "autoattack"
    version: Literal["standard", "plus", "rand", "custom"] = Field(
        "standard",
        description="AutoAttack's version; rand is for models that draw at random, custom runs "
        "`attacks`.",
    )
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    attacks: tuple[AttackName, ...] = added(
        (), "Of the version custom, which they make it: each attacks what those before it left."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_list_for_custom(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("attacks") and "version" not in data:
            return {**data, "version": "custom"}
        return data

    @model_validator(mode="after")
    def _check(self) -> AutoAttackEvaluation:
        check_epsilon(self.norm, self.epsilon)
        if self.version == "custom" and not self.attacks:
            raise ValueError(f"version = 'custom': needs `attacks`; allowed: {', '.join(NAMES)}")
        if self.version != "custom" and self.attacks:
            raise ValueError(
                f"version = '{self.version}': has attacks of its own; `attacks` is for 'custom'"
            )
        if len(set(self.attacks)) < len(self.attacks):
            raise ValueError(f"attacks = {', '.join(self.attacks)}: must name each at most once")
        return self

    @property
    def names(self) -> tuple[AttackName, ...]:
        """Its attacks in their order; a record's detail `broken_by` counts them from 1."""
        return VERSIONS.get(self.version, self.attacks)

    @property
    def label(self) -> str:
        """See `AttackSettings.label`."""
        return "autoattack" if self.version == "standard" else f"autoattack-{self.version}"

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        which = f" ({', '.join(self.attacks)})" if self.attacks else ""
        return f"AutoAttack {self.version}{which}"

    def for_classes(self, classes: int) -> AutoAttackEvaluation:
        """See `AttackSettings.for_classes`."""
        if self.version != "standard" or classes >= FEWEST_CLASSES["apgd-t"]:
            return self
        return self.model_copy(update={"version": "custom", "attacks": ON_FEW_CLASSES})

    def check(self, classes: int, image_shape: ImageShape) -> None:
        """See `AttackSettings.check`."""
        names = self.for_classes(classes).names
        for name in names:
            check_classes(name, classes, f"give `attacks`, as in [{', '.join(ON_FEW_CLASSES)}]")
        if "square" in names:
            others = ", ".join(name for name in names if name != "square") or "apgd-ce"
            check_square(self.norm, image_shape, f"give `attacks`, as in [{others}]")
