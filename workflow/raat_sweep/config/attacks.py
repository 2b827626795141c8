"""Evaluations that a config has by name, and numbers derived from several of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from raat_core.cells.catalogue import ARCHITECTURES, ArchitectureName
from raat_core.cells.evaluations import (
    AutoAttackEvaluation,
    CleanEvaluation,
    Evaluation,
    PgdEvaluation,
)
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import (
    LARGEST_COUNT,
    Frozen,
    PixelFraction,
    of_kind,
    suggest,
)

WITH_TRAINING = "training"
"""The job whose attacks run in the process that trains the cell."""
ShardCount: TypeAlias = Annotated[int, Field(ge=1)]
_SHARDS = (
    "must be a whole number of at least 1, or such numbers by architecture, as in {wrn-28-10: 8}"
)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class _AttackEntry(Frozen):
    title: str = Field(description="Column title.")
    job: str = Field(
        "gradient",
        description="Attacks of one job run in one process, one a cell; `training`: in the process "
        "that trains the cell.",
    )
    samples: int | None = Field(
        None, ge=1, description="Test images attacked, evenly spaced; null: all of them."
    )
    batch_size: int = Field(
        256, ge=1, le=LARGEST_COUNT, description="Images at a time; random draws depend on it."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the attack's draws.")
    shards: ShardCount | dict[ArchitectureName, ShardCount] = Field(
        1,
        description="Jobs that share the batches of a cell; or by architecture, 1 for others. No "
        "number depends on it.",
    )

    @field_validator("shards", mode="before")
    @classmethod
    def _check_shards(cls, shards: object) -> object:
        """As the types do, in one line."""
        counts = list(shards.values()) if isinstance(shards, Mapping) else [shards]
        if not all(map(_is_count, counts)):
            raise ValueError(_SHARDS)
        for architecture in shards if isinstance(shards, Mapping) else ():
            if architecture not in ARCHITECTURES:
                raise ValueError(
                    f"unknown architecture '{architecture}'{suggest(architecture, ARCHITECTURES)}"
                )
        return shards

    @model_validator(mode="after")
    def _check_job(self) -> _AttackEntry:
        if self.job == WITH_TRAINING and self.most_shards > 1:
            raise ValueError(
                f"shards = {self.shards}: attacks of the job `{WITH_TRAINING}` run in the process "
                f"that trains the cell; give this one another job"
            )
        return self

    @property
    def most_shards(self) -> int:
        """For any architecture."""
        return max(self.shards_of(architecture) for architecture in ARCHITECTURES)

    def shards_of(self, architecture: str) -> int:
        """For cells of an architecture."""
        if isinstance(self.shards, int):
            return self.shards
        return self.shards.get(architecture, 1)

    def _shared(self) -> dict[str, Any]:
        return {"samples": self.samples, "batch_size": self.batch_size, "seed": self.seed}


class CleanEntry(_AttackEntry):
    """Accuracy on clean images."""

    kind: Literal["clean"] = "clean"

    def resolve(self, threat: ThreatModel) -> Evaluation:
        """The evaluation; the ball does not matter."""
        return CleanEvaluation(**self._shared())


class PgdEntry(_AttackEntry):
    """PGD in the cell's ball."""

    kind: Literal["pgd"] = "pgd"
    objective: Literal["cross-entropy", "kl", "margin"] = Field(
        "cross-entropy", description="What is maximised; margin is the C&W attack."
    )
    steps: int = Field(ge=1, le=LARGEST_COUNT, description="Number of steps.")
    step_size: PixelFraction | None = Field(None, description="null: the threat model's.")
    restarts: int = Field(
        1, ge=1, le=LARGEST_COUNT, description="Random starts; one success counts."
    )

    def resolve(self, threat: ThreatModel) -> Evaluation:
        """The evaluation in a threat model's ball."""
        return PgdEvaluation(
            norm=threat.norm,
            epsilon=threat.epsilon,
            step_size=threat.step_size if self.step_size is None else self.step_size,
            steps=self.steps,
            objective=self.objective,
            restarts=self.restarts,
            **self._shared(),
        )


class AutoAttackEntry(_AttackEntry):
    """AutoAttack in the cell's ball."""

    kind: Literal["autoattack"] = "autoattack"
    version: Literal["standard"] = Field("standard", description="AutoAttack's version.")
    job: str = Field("autoattack", description="As for other attacks.")

    def resolve(self, threat: ThreatModel) -> Evaluation:
        """The evaluation in a threat model's ball."""
        return AutoAttackEvaluation(
            norm=threat.norm, epsilon=threat.epsilon, version=self.version, **self._shared()
        )


AttackEntry: TypeAlias = Annotated[
    CleanEntry | PgdEntry | AutoAttackEntry,
    Field(discriminator="kind"),
    of_kind("clean", "pgd", "autoattack"),
]


class DerivedEntry(Frozen):
    """A number computed from the accuracies of one cell under several attacks."""

    kind: Literal["mean", "harmonic-mean"] = Field(
        description="Of the accuracies; the harmonic mean of two is the NRR of the paper's Table 3."
    )
    of: tuple[str, ...] = Field(description="Names from `attacks`, at least two.")
    title: str = Field(description="Column title.")

    @field_validator("of")
    @classmethod
    def _check_parts(cls, of: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(of)) < max(len(of), 2):
            raise ValueError("must name at least two different attacks")
        return of
