"""A whole config: what it may say.

`Config` and the models of its entries and items are the reference: schema and defaults come from
them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS, ArchitectureName
from raat_core.cells.cell import MethodField
from raat_core.cells.image_folder import check_folder_name
from raat_core.cells.precision import FP32, Precision
from raat_core.cells.recipe import Recipe
from raat_core.cells.selection import Selection
from raat_core.interface.settings import MethodSettings
from raat_core.validation import Frozen, OneLine, explain, suggest
from raat_sweep.config.attacks import AttackEntry, DerivedEntry
from raat_sweep.config.data_sets import BUILT_IN_DATA_SETS, ImageFolderEntry
from raat_sweep.config.defaults import DEFAULTS
from raat_sweep.config.grid import Grid
from raat_sweep.config.items import Claim, Comparison, Figure, Item, Table
from raat_sweep.config.threat_models import ThreatModelEntry

ITEM_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,99}"
"""Also a file's name, which file systems bound."""


class Config(Frozen):
    """A whole config file."""

    extends: str | None = Field(
        None,
        description="Another config: its entries are this one's too, but for those that are given "
        "here. Relative paths start where you run, or at the root of the checkout.",
    )
    results: str = Field(
        "results", description="Folder for everything that is made: letters, digits, . _ + - /"
    )
    data: OneLine | None = Field(
        None,
        description="Folder where data sets are looked for and decoded; null: RAAT_DATA of the "
        "environment, or `data`.",
    )
    datasets: dict[str, ImageFolderEntry] = Field(
        default_factory=dict, description="Image folders of your own by name."
    )
    architectures: dict[str, ArchitectureName] = Field(
        default_factory=dict,
        description="Names for architectures; also another one for a name that grids use.",
    )
    plugins: tuple[str, ...] = Field(
        (), description="Python files or modules that register methods of your own."
    )
    methods: dict[OneLine, MethodField] = Field(
        default_factory=dict, description="Methods by label: a name, `variant`, settings."
    )
    threat_models: dict[str, ThreatModelEntry] = Field(
        default_factory=dict, description="Threat models by name."
    )
    recipes: dict[str, Recipe] = Field(default_factory=dict, description="Recipes by name.")
    selection: Selection = Field(
        default_factory=Selection, description="How the best checkpoint is chosen."
    )
    precision: Precision = Field(
        FP32,
        description="Arithmetic of training: fp32, tf32 or bf16, or one each for {attack: ..., "
        "training: ...}. Evaluation always is fp32.",
    )
    attacks: dict[str, AttackEntry] = Field(
        default_factory=dict, description="Evaluations by name; the names are column names."
    )
    derived: dict[str, DerivedEntry] = Field(
        default_factory=dict, description="Numbers computed from several attacks, by name."
    )
    items: dict[str, Item] = Field(
        default_factory=dict,
        description="Tables, figures and comparisons by name, which is their file name.",
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_defaults(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValueError("must be a mapping of keys to values")
        merged = dict(data)
        for key, defaults in DEFAULTS.items():
            given = merged.get(key) or {}
            if isinstance(given, Mapping):
                merged[key] = {**defaults, **given}
        return merged

    @field_validator("results")
    @classmethod
    def _check_results(cls, results: str) -> str:
        path = posixpath.normpath(results)
        if not re.fullmatch(r"[A-Za-z0-9._+/-]+", path) or ".." in results.split("/"):
            raise ValueError("must be a path of letters, digits, . _ + - and /, without ..")
        if path in (".", "/", "//"):
            raise ValueError("must be a folder of its own")
        if path.startswith("-"):
            raise ValueError("must not begin with -, as options of commands do")
        if len(path) > LONGEST_RESULTS:
            raise ValueError(f"must have at most {LONGEST_RESULTS} characters")
        return path

    @property
    def titles(self) -> dict[str, str]:
        """Column titles of all attacks and derived metrics."""
        return {name: entry.title for name, entry in {**self.attacks, **self.derived}.items()}

    def derived_among(self, metrics: Iterable[str]) -> dict[str, DerivedEntry]:
        """Those of some metrics that are derived."""
        return {metric: self.derived[metric] for metric in metrics if metric in self.derived}

    def attacks_of(self, metrics: Iterable[str]) -> tuple[str, ...]:
        """The attacks that some metrics are made of, none twice."""
        parts = (self.derived[m].of if m in self.derived else (m,) for m in metrics)
        return tuple(dict.fromkeys(attack for some in parts for attack in some))

    def _grids(self) -> Iterator[tuple[str, Grid]]:
        """Every grid with its place."""
        for name, item in self.items.items():
            yield from item.grids_at(f"items.{name}")

    def _check_attack(self, name: str, threat: ThreatModelEntry, dataset: str) -> None:
        try:
            self.attacks[name].resolve(threat.resolve(dataset))
        except ValidationError as error:
            (line, *_) = explain(error, f"attacks.{name}")
            raise ValueError(line) from None

    @model_validator(mode="after")
    def _check_data_sets(self) -> Config:
        for name in self.datasets:
            try:
                check_folder_name(name)
            except ValueError as error:
                raise ValueError(f"datasets.{name}: {error}") from None
        known = (*BUILT_IN_DATA_SETS, *self.datasets)
        for name, entry in self.threat_models.items():
            for dataset in entry.datasets:
                _require_data_set(f"threat_models.{name}.datasets", dataset, known)
        for where, grid in self._grids():
            for dataset in grid.datasets:
                _require_data_set(f"{where}.datasets", dataset, known)
        return self

    @model_validator(mode="after")
    def _check_names(self) -> Config:
        for name, item in self.items.items():
            if not re.fullmatch(ITEM_NAME, name) or name == "cells":
                raise ValueError(
                    f"items.{name}: a name must be letters, digits, - and _, a letter first, "
                    f"at most 100, and not `cells`"
                )
            for where, labels, methods in item.labels_at(f"items.{name}"):
                for label in labels:
                    _require(where, label, methods)
            for where, grid in item.grids_at(f"items.{name}"):
                _require(f"{where}.threat_model", grid.threat_model, self.threat_models)
                _require(f"{where}.recipe", grid.recipe, self.recipes)
                for architecture in grid.architectures:
                    self._check_architecture(where, architecture)
                for label in grid.methods:
                    _require(f"{where}.methods", label, self.methods)
                    _check_varied(where, grid, self.methods[label])
            for where, metrics in item.metrics_at(f"items.{name}"):
                for metric in metrics:
                    _require(where, metric, self.titles)
        return self

    def _check_architecture(self, where: str, name: str) -> None:
        known = {**ARCHITECTURES, **self.architectures}
        if name not in known:
            raise ValueError(
                f"{where}.architectures = '{name}': unknown architecture{suggest(name, known)}"
            )

    @model_validator(mode="after")
    def _check_derived(self) -> Config:
        for name, entry in self.derived.items():
            if name in self.attacks:
                raise ValueError(f"derived.{name}: there is an attack of this name")
            for attack in entry.of:
                _require(f"derived.{name}.of", attack, self.attacks)
        return self

    @model_validator(mode="after")
    def _check_comparisons(self) -> Config:
        compared = [(n, item) for n, item in self.items.items() if isinstance(item, Comparison)]
        for name, item in compared:
            for table in item.published:
                _require_kind(f"items.{name}.published", table, self.items, (Table,))
            for index, claim in enumerate(item.claims):
                where = f"items.{name}.claims.{index}"
                _require_kind(f"{where}.item", claim.item, self.items, (Table, Figure))
                _require_panel(where, claim, self.items[claim.item])
        return self

    def check_samples(self, attack: str, where: str, dataset: str) -> None:
        """Refuse to attack more test images than a data set of the catalogue has.

        Raises:
            ValueError: says how many there are.
        """
        samples, info = self.attacks[attack].samples, DATA_SETS[dataset]
        if samples is not None and samples > info.test_size:
            raise ValueError(
                f"attacks.{attack}.samples = {samples}: must be at most {info.test_size}, the test "
                f"images of {dataset}, which {where} asks for"
            )

    @model_validator(mode="after")
    def _check_attacks(self) -> Config:
        for name in self.attacks:
            for where, grid in self._grids():
                for dataset in grid.datasets:
                    self._check_attack(name, self.threat_models[grid.threat_model], dataset)
                    if dataset not in self.datasets:
                        self.check_samples(name, where, dataset)
        return self

    @model_validator(mode="after")
    def _check_shards(self) -> Config:
        """Attacks of one job run in one process, so that they are shared out together."""
        used = {
            attack: self.attacks[attack]
            for name, item in self.items.items()
            for _, metrics in item.metrics_at(f"items.{name}")
            for attack in self.attacks_of(metrics)
        }
        first: dict[str, str] = {}
        for name, entry in used.items():
            other = first.setdefault(entry.job, name)
            for architecture in ARCHITECTURES:
                counts = [self.attacks[n].shards_of(architecture) for n in (name, other)]
                if counts[0] != counts[1]:
                    raise ValueError(
                        f"attacks.{name}.shards = {counts[0]}, attacks.{other}.shards = "
                        f"{counts[1]} (for {architecture}): both are of the job '{entry.job}', "
                        f"whose attacks must have the same shards; or give one of them another job"
                    )
        return self


def _require(where: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise ValueError(f"{where} = '{value}'{suggest(value, known)}")


def _require_kind(
    where: str, value: str, items: Mapping[str, object], kinds: tuple[type, ...]
) -> None:
    _require(where, value, {name: item for name, item in items.items() if isinstance(item, kinds)})


def _require_panel(where: str, claim: Claim, item: object) -> None:
    if isinstance(item, Figure):
        _require(f"{where}.panel", str(claim.panel or ""), item.panels)
    elif claim.panel is not None:
        raise ValueError(f"{where}.panel = '{claim.panel}': {claim.item} is a table")


def _require_data_set(where: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{where} = '{value}': unknown data set{suggest(value, known)}")


def _check_varied(where: str, grid: Grid, settings: MethodSettings) -> None:
    for setting, values in grid.vary.items():
        for value in values:
            try:
                settings.replace({setting: value})
            except ValidationError as error:
                (line, *_) = explain(error, f"{where}.vary.{setting}")
                raise ValueError(line) from None


LONGEST_RESULTS = 200
"""Characters of the path: what lies below has to fit into a path, too."""
