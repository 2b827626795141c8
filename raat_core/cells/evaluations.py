"""Evaluations of a trained cell: their settings, and the names of the records that they leave."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from raat_core.cells.attacks.autoattack import AutoAttackEvaluation as AutoAttackEvaluation
from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.digests import NUMERICS_VERSION, SAMPLING_VERSION, digest_of
from raat_core.errors import UserError
from raat_core.interface.attack import AttackSettings
from raat_core.interface.needs import Checkpoint as Checkpoint
from raat_core.interface.registry import (
    BUILT_IN_ATTACKS,
    attack_class,
    build_attack,
    resolve_attack,
)
from raat_core.specs.threat_model import (
    Norm,
    ThreatModel,
    check_epsilon,
    check_step_size,
    out_of_reach,
)
from raat_core.validation import LARGEST_COUNT, Frozen, PixelFraction, format_fraction


class CleanEvaluation(AttackSettings):
    """No attack: the accuracy on clean images."""

    kind: Literal["clean"] = "clean"

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        return ""


class PgdEvaluation(AttackSettings):
    """Projected gradient descent; `margin` is the C&W attack in the ball."""

    in_label: ClassVar[tuple[str, ...]] = ("objective", "steps")

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
        """See `AttackSettings.label`."""
        stem = {"cross-entropy": "pgd", "kl": "kl-pgd", "margin": "cw"}[self.objective]
        return f"{stem}-{self.steps}"

    def out_of_reach(self) -> str | None:
        """See `AttackSettings.out_of_reach`."""
        return out_of_reach(self.steps, self.step_size, self.epsilon)

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        restarts = "" if self.restarts == 1 else f" and {self.restarts} starts"
        steps = f"{self.steps} steps of {format_fraction(self.step_size)}{restarts}"
        return f"{steps} on the {self.objective}"


class EvaluationSchema:
    """JSON schema of an attack: a built-in one's settings, or whatever a plugin's may be."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        built_in = [
            {**attack_class(kind).Settings.model_json_schema(by_alias=True), "required": ["kind"]}
            for kind in BUILT_IN_ATTACKS
        ]
        other = {"type": "string", "not": {"enum": list(BUILT_IN_ATTACKS)}}
        plugin = {"type": "object", "properties": {"kind": other}, "required": ["kind"]}
        return {"anyOf": [*built_in, plugin]}


Evaluation: TypeAlias = Annotated[
    SerializeAsAny[AttackSettings], BeforeValidator(resolve_attack), EvaluationSchema()
]
"""An attack's settings; which ones is for its `kind` to say."""
CHECKPOINTS: tuple[Checkpoint, ...] = ("best", "last")


LARGEST_KEPT = 256 * 2**20
"""Bytes of adversarial images that one attack on one cell may keep."""


def versions_of(evaluation: Evaluation) -> dict[str, int]:
    """Of what an attack and its choice of images are, where they are not 1."""
    versions = {
        "attack_version": attack_class(evaluation.kind).version,
        "sampling_version": 1 if evaluation.samples is None else SAMPLING_VERSION,
    }
    return {key: version for key, version in versions.items() if version != 1}


def evaluation_name(evaluation: Evaluation, checkpoint: Checkpoint) -> str:
    """Name of an attack's record within a cell's folder: readable, unique by its digest."""
    identity: dict[str, Any] = {
        "attack": evaluation.to_json(),
        "numerics_version": NUMERICS_VERSION,
    }
    identity |= versions_of(evaluation)
    label = re.sub(r"[^A-Za-z0-9.+-]", "-", evaluation.label)[:60]
    return f"{checkpoint}_{label}_{digest_of(identity, 8)}"


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
        versions = [attack_class(attack.kind).version for attack in self.attacks]
        if set(versions) != {1}:
            identity.append(versions)
        if any(attack.samples is not None for attack in self.attacks):
            identity.append({"sampling_version": SAMPLING_VERSION})
        return f"{self.checkpoint}_{digest_of(identity, 8)}"


def check_attack(attack: Evaluation, dataset: str, data_root: Path | None = None) -> None:
    """Refuse an attack that a data set of the catalogue cannot be put to.

    Args:
        attack: its settings.
        dataset: by name.
        data_root: where attacks find data of their own; without, as for data sets.

    Raises:
        ValueError: there are fewer test images than samples, its settings refuse it, or a file is
            missing that it reads.
    """
    info = DATA_SETS[dataset]
    if attack.images(info.test_size) > info.test_size:
        raise ValueError(
            f"samples = {attack.samples}: must be at most {info.test_size}, the test images of "
            f"{dataset}"
        )
    _check_kept(attack, dataset)
    try:
        attack.check(info.classes, info.image_shape)
        build_attack(attack).files(data_root)
    except (ValueError, UserError) as error:
        raise ValueError(f"kind = '{attack.kind}' on {dataset}: {error}") from None


def _check_kept(attack: Evaluation, dataset: str) -> None:
    """Refuse to keep more adversarial images than a quota bears, in float32."""
    info = DATA_SETS[dataset]
    size = 4 * math.prod(info.image_shape)
    kept = attack.images(info.test_size) * size
    if attack.keep and kept > LARGEST_KEPT:
        raise ValueError(
            f"keep = true: adversarial images of {dataset} are {kept / 2**20:.0f} MiB a cell and "
            f"attack; at most {LARGEST_KEPT / 2**20:.0f} MiB are kept, which are samples = "
            f"{LARGEST_KEPT // size}"
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
    threat: ThreatModel, checkpoint: Checkpoint, attacks: Sequence[Evaluation] | None = None
) -> EvaluationList:
    """The attacks to run on a checkpoint of a cell; if none are given, `standard_attacks`."""
    chosen = standard_attacks(threat) if attacks is None else tuple(attacks)
    return EvaluationList(checkpoint=checkpoint, attacks=chosen)
