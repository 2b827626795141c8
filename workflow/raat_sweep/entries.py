"""Entries that a config has by name: threat models, attacks, derived numbers, image folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from raat_core.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.spec import (
    FOLDER_NAME,
    LARGEST_COUNT,
    ArchitectureName,
    AutoAttackEvaluation,
    CleanEvaluation,
    Evaluation,
    Norm,
    PgdEvaluation,
    ThreatModel,
)
from raat_core.validation import (
    Frozen,
    PixelFraction,
    of_kind,
    refuse_control_characters,
    suggest,
)

WITH_TRAINING = "training"
"""The job whose attacks run in the process that trains the cell."""
BUILT_IN_DATA_SETS = tuple(name for name in DATA_SETS if "@" not in name)
OneLine: TypeAlias = Annotated[str, AfterValidator(refuse_control_characters)]
"""A path or a label: it stands in files and messages of one line."""
DataSetName: TypeAlias = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "anyOf": [{"enum": list(BUILT_IN_DATA_SETS)}, {"pattern": FOLDER_NAME}]}
    ),
]
"""Of the catalogue, or of the config's own `datasets`, which `Config` looks it up in."""


class BallOverride(Frozen):
    """Another ball for one data set."""

    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")


class ThreatModelEntry(Frozen):
    """A threat model by name, with other balls for data sets that need them."""

    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")
    steps: int = Field(10, ge=1, le=LARGEST_COUNT, description="Steps of the training attack.")
    datasets: dict[DataSetName, BallOverride] = Field(
        default_factory=dict, description="Data sets with a ball of their own."
    )

    @model_validator(mode="after")
    def _check_balls(self) -> ThreatModelEntry:
        for dataset in ("", *self.datasets):
            self.resolve(dataset)
        return self

    def resolve(self, dataset: str) -> ThreatModel:
        """The threat model for a data set."""
        ball = self.datasets.get(dataset, self)
        return ThreatModel(
            norm=self.norm, epsilon=ball.epsilon, step_size=ball.step_size, steps=self.steps
        )


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


class ImageFolderEntry(Frozen):
    """A folder of images of your own: train/<class>/..., test/<class>/..."""

    path: OneLine = Field(
        min_length=1, description="The folder; relative paths start where you run."
    )
    image_size: int = Field(
        ge=4,
        le=1024,
        description="Height and width. Images of another size are scaled until their shorter side "
        "is this, and cropped to their centre.",
    )
