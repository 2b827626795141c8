"""Recipes that a config has by name, and how the best checkpoint is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field, SerializeAsAny

from raat_core.cells.evaluations import EvaluationSchema
from raat_core.cells.extra_data import ExtraDataSettings
from raat_core.cells.selection import WORDS, Selection, SelectionBase
from raat_core.interface.attack import AttackSettings
from raat_core.interface.registry import resolve_attack
from raat_core.specs.recipe import Recipe
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import added
from raat_sweep.config.attacks import AttackEntry
from raat_sweep.config.data_sets import DataSetName


def _resolve(value: object) -> object:
    return value if isinstance(value, str) else resolve_attack(value)


NamedCriterion: TypeAlias = Annotated[
    str | Annotated[SerializeAsAny[AttackSettings], EvaluationSchema()], BeforeValidator(_resolve)
]


class SelectionEntry(SelectionBase):
    """How the best checkpoint is chosen; the criterion may be an attack's name."""

    by: NamedCriterion = added(
        "robust",
        "robust: PGD accuracy; clean: clean accuracy, without an attack; last: the last epoch; or "
        "a name from `attacks`, or an attack's settings.",
    )

    def resolve(self, attacks: Mapping[str, AttackEntry], threat: ThreatModel) -> Selection:
        """The selection of a cell: an attack is one in its ball."""
        by: str | AttackSettings = self.by
        if isinstance(by, str) and by not in WORDS:
            by = attacks[by].resolve(threat)
        if isinstance(by, AttackSettings) and by.kind == "clean":
            by = "clean"
        others = {name: getattr(self, name) for name in SelectionBase.model_fields}
        return Selection.model_validate({**others, "by": by})


class ExtraDataEntry(ExtraDataSettings):
    """A second data set of which every batch holds a share."""

    dataset: DataSetName = Field(description="Data set, by name.")


class RecipeEntry(Recipe):
    """A recipe by name, and what else cells of that name share."""

    extra_data: ExtraDataEntry | None = added(
        None, "A second data set of which every batch holds a share: {dataset, share, labels}."
    )

    selection: SelectionEntry | None = added(
        None, "How the best checkpoint is chosen, in place of the config's `selection`."
    )

    @property
    def recipe(self) -> Recipe:
        """Of a cell."""
        fields = Recipe.model_fields.items()
        return Recipe.model_validate(
            {field.alias or name: getattr(self, name) for name, field in fields}
        )
