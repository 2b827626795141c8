"""How the best checkpoint of a training is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from raat_core.cells.evaluations import CleanEvaluation, EvaluationSchema
from raat_core.interface.attack import AttackSettings
from raat_core.interface.registry import attack_class, resolve_attack
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import LARGEST_COUNT, Growing, added, suggest

Word: TypeAlias = Literal["robust", "clean", "last"]
WORDS: tuple[Word, ...] = get_args(Word)


def _resolve(value: object) -> object:
    """One of `WORDS`, or an attack's settings."""
    if isinstance(value, str):
        if value not in WORDS:
            raise ValueError(f"unknown criterion{suggest(value, WORDS)}, or an attack's settings")
        return value
    attack = resolve_attack(value)
    if isinstance(attack, CleanEvaluation):
        raise ValueError("kind = 'clean': is written as the word `clean`")
    if not attack_class(attack.kind).is_adversarial:
        raise ValueError(f"kind = '{attack.kind}': is no attack in a ball, to be robust against")
    return attack


Criterion: TypeAlias = Annotated[
    Word | Annotated[SerializeAsAny[AttackSettings], EvaluationSchema()], BeforeValidator(_resolve)
]


class SelectionBase(Growing):
    """All of how the best checkpoint is chosen, but for the criterion."""

    split: Literal["test", "validation"] = Field(
        "test",
        description="test, as in the paper, or a part of the training set that is held out.",
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Part held out of every class for split: validation."
    )
    steps: int = Field(10, ge=1, le=LARGEST_COUNT, description="PGD steps, in the cell's ball.")
    every: int = Field(1, ge=1, description="Epochs between evaluations; the last always is one.")
    batch_size: int = Field(256, ge=1, le=LARGEST_COUNT, description="Images attacked at a time.")

    def train_size(self, size: int) -> int:
        """How many of so many training images are left to train on; about, if some are held out."""
        return size if self.split == "test" else size - round(self.validation_fraction * size)

    @model_validator(mode="before")
    @classmethod
    def _forget_what_does_not_matter(cls, data: Any) -> Any:
        """Without a held out part its size is no part of a cell's identity; nor are idle steps."""
        if not isinstance(data, Mapping):
            return data
        forgotten = []
        if data.get("split", "test") == "test":
            forgotten.append("validation_fraction")
        if data.get("by", "robust") not in ("robust", "last"):
            forgotten.append("steps")
        return {key: value for key, value in data.items() if key not in forgotten}


class Selection(SelectionBase):
    """How the best checkpoint is chosen: by an accuracy after an epoch, the first of equals."""

    by: Criterion = added(
        "robust",
        "robust: PGD accuracy; clean: clean accuracy, without an attack; last: the last epoch; or "
        "an attack's settings.",
    )

    @property
    def attack(self) -> AttackSettings | None:
        """The attack whose accuracy decides; None if a word says what does."""
        return self.by if isinstance(self.by, AttackSettings) else None

    def robust_label(self, threat: ThreatModel) -> str:
        """Under what the robust accuracies of a cell's epochs are; empty if there are none."""
        if self.attack is not None:
            return self.attack.label_in(threat, images=False)
        return "" if self.by == "clean" else f"PGD-{self.steps}"

    def chosen_by(self, threat: ThreatModel) -> str:
        """What a cell's best checkpoint is best in, as manifests say it."""
        words = {"clean": "clean accuracy", "last": "last epoch"}
        return words.get(str(self.by), f"{self.robust_label(threat)} accuracy")

    def images(self, size: int) -> int:
        """How many images of a split of `size` say how good an epoch is."""
        return size if self.attack is None else self.attack.images(size)
