"""Evaluations of a trained cell: their settings, and the names of the records that they leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.digests import NUMERICS_VERSION, digest_of
from raat_core.specs.threat_model import Norm, ThreatModel, check_epsilon, check_step_size
from raat_core.validation import LARGEST_COUNT, Frozen, PixelFraction, of_kind


class _AttackBase(Frozen):
    numerics_version: ClassVar[int] = 1
    """Raised when the attack computes something else; part of its name where it is not 1."""

    samples: int | None = Field(
        None, ge=1, description="Test images attacked, evenly spaced; null: all of them."
    )
    batch_size: int = Field(
        256, ge=1, le=LARGEST_COUNT, description="Images at a time; random draws depend on it."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the attack's draws.")

    def to_json(self) -> dict[str, Any]:
        """Plain data that the attack's class validates back to an equal attack."""
        return self.model_dump(mode="json", by_alias=True)

    def images(self, test_size: int) -> int:
        """How many images of a test set are attacked."""
        return test_size if self.samples is None else self.samples

    def batches(self, test_size: int) -> int:
        """In how many batches they are attacked; the last one may be smaller."""
        return math.ceil(self.images(test_size) / self.batch_size)


class CleanEvaluation(_AttackBase):
    """No attack: the accuracy on clean images."""

    kind: Literal["clean"] = "clean"

    @property
    def label(self) -> str:
        return "clean"


class PgdEvaluation(_AttackBase):
    """Projected gradient descent; `margin` is the C&W attack in the ball."""

    kind: Literal["pgd"] = "pgd"
    objective: Literal["cross-entropy", "kl", "margin"] = Field(
        "cross-entropy", description="What is maximised."
    )
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size.")
    steps: int = Field(ge=1, le=LARGEST_COUNT, description="Number of steps.")
    restarts: int = Field(
        1, ge=1, le=LARGEST_COUNT, description="Random starts; one success counts."
    )

    @model_validator(mode="after")
    def _check(self) -> PgdEvaluation:
        check_epsilon(self.norm, self.epsilon)
        check_step_size(self.step_size, self.epsilon)
        return self

    @property
    def label(self) -> str:
        stem = {"cross-entropy": "pgd", "kl": "kl-pgd", "margin": "cw"}[self.objective]
        return f"{stem}-{self.steps}"


class AutoAttackEvaluation(_AttackBase):
    """AutoAttack's standard version, by its authors' package, on every batch by itself."""

    numerics_version = 2  # 1 ran each of its attacks over all images before the next one.

    kind: Literal["autoattack"] = "autoattack"
    version: Literal["standard"] = Field("standard", description="AutoAttack's version.")
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")

    @model_validator(mode="after")
    def _check(self) -> AutoAttackEvaluation:
        check_epsilon(self.norm, self.epsilon)
        return self

    @property
    def label(self) -> str:
        return "autoattack"


Evaluation: TypeAlias = Annotated[
    CleanEvaluation | PgdEvaluation | AutoAttackEvaluation,
    Field(discriminator="kind"),
    of_kind("clean", "pgd", "autoattack"),
]
Checkpoint: TypeAlias = Literal["best", "last"]
CHECKPOINTS: tuple[Checkpoint, ...] = ("best", "last")


def evaluation_name(evaluation: Evaluation, checkpoint: Checkpoint) -> str:
    """Name of an attack's record within a cell's folder: readable, unique by its digest."""
    identity: dict[str, Any] = {
        "attack": evaluation.to_json(),
        "numerics_version": NUMERICS_VERSION,
    }
    if evaluation.numerics_version != 1:
        identity["attack_version"] = evaluation.numerics_version
    return f"{checkpoint}_{evaluation.label}_{digest_of(identity, 8)}"


class EvaluationList(Frozen):
    """Attacks to run on one checkpoint of one cell, in one process."""

    checkpoint: Checkpoint = "best"
    attacks: tuple[Evaluation, ...] = Field(min_length=1)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `EvaluationList` validates back to an equal list."""
        return self.model_dump(mode="json", by_alias=True)

    @cached_property
    def name(self) -> str:
        """`best_<digest>`: the same attacks on the same checkpoint have the same name."""
        identity: list[Any] = [self.to_json(), NUMERICS_VERSION]
        versions = [attack.numerics_version for attack in self.attacks]
        if set(versions) != {1}:
            identity.append(versions)
        return f"{self.checkpoint}_{digest_of(identity, 8)}"


FEWEST_CLASSES = 4
"""Of AutoAttack: its targeted difference-of-logits-ratio loss compares the four largest logits."""


def check_attack(attack: Evaluation, dataset: str) -> None:
    """Refuse an attack that a data set of the catalogue cannot be put to.

    Raises:
        ValueError: there are fewer test images than samples, or fewer classes than it needs.
    """
    info = DATA_SETS[dataset]
    if attack.images(info.test_size) > info.test_size:
        raise ValueError(
            f"samples = {attack.samples}: must be at most {info.test_size}, the test images of "
            f"{dataset}"
        )
    if isinstance(attack, AutoAttackEvaluation) and info.classes < FEWEST_CLASSES:
        raise ValueError(
            f"kind = 'autoattack': needs a data set of at least {FEWEST_CLASSES} classes; "
            f"{dataset} has {info.classes}"
        )


def standard_attacks(threat: ThreatModel) -> tuple[Evaluation, ...]:
    """The five columns of Table 1 in a threat model's ball, on the whole test set.

    The paper does not give the steps of C&W; 30 are usual (MART's evaluation).
    """
    ball: dict[str, Any] = {"norm": threat.norm, "epsilon": threat.epsilon}
    step_size = threat.step_size
    return (
        CleanEvaluation(),
        PgdEvaluation(**ball, step_size=step_size, steps=10),
        PgdEvaluation(**ball, step_size=step_size, steps=100),
        PgdEvaluation(**ball, step_size=step_size, steps=30, objective="margin"),
        AutoAttackEvaluation(**ball),
    )


def attacks_on(
    cell: Cell, checkpoint: Checkpoint, attacks: Sequence[Evaluation] | None = None
) -> EvaluationList:
    """The attacks to run on a checkpoint of a cell; if none are given, `standard_attacks`."""
    chosen = standard_attacks(cell.threat_model) if attacks is None else tuple(attacks)
    return EvaluationList(checkpoint=checkpoint, attacks=chosen)
