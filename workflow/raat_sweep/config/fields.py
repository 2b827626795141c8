"""What each key of a config may say by itself.

These models, and those of entries and items, are the reference: schema and defaults come from them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from raat_core.cells.catalogue import ArchitectureName
from raat_core.cells.fields import MethodField
from raat_core.specs.precision import FP32, Precision
from raat_core.validation import Frozen, OneLine
from raat_sweep.config.attacks import AttackEntry, DerivedEntry
from raat_sweep.config.data_sets import ImageFolderEntry
from raat_sweep.config.defaults import DEFAULTS
from raat_sweep.config.grid import Grid
from raat_sweep.config.items import Classes, Item
from raat_sweep.config.models import ModelEntry
from raat_sweep.config.recipes import RecipeEntry, SelectionEntry
from raat_sweep.config.threat_models import ThreatModelEntry

LONGEST_RESULTS = 200
"""Characters of the path: what lies below has to fit into a path, too."""


class ConfigFields(Frozen):
    """The keys of a config; whether they agree with each other is for `Config` to check."""

    extends: str | None = Field(
        None,
        description="Another config: its entries are this one's too, but for those that are given "
        "here; `plugins` are added. Relative paths start where you run, or at the root of the "
        "checkout.",
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
        (),
        description="Python files, folders of them, or modules that register methods, attacks, "
        "architectures and data sets of your own; those of `extends` come first.",
    )
    methods: dict[OneLine, MethodField] = Field(
        default_factory=dict, description="Methods by label: a name, `variant`, settings."
    )
    models: dict[OneLine, ModelEntry] = Field(
        default_factory=dict,
        description="Models by label that were trained elsewhere: a file of weights and its "
        "architecture, or a model of RobustBench's zoo.",
    )
    threat_models: dict[str, ThreatModelEntry] = Field(
        default_factory=dict, description="Threat models by name."
    )
    recipes: dict[str, RecipeEntry] = Field(default_factory=dict, description="Recipes by name.")
    selection: SelectionEntry = Field(
        default_factory=SelectionEntry, description="How the best checkpoint is chosen."
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
        description="Tables, figures, accuracies by class and comparisons by name, which is their "
        "file name.",
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
        attacks = {name: entry.title for name, entry in self.attacks.items()}
        return attacks | {name: entry.title for name, entry in self.derived.items()}

    def derived_among(self, metrics: Iterable[str]) -> dict[str, DerivedEntry]:
        """Those of some metrics that are derived."""
        return {metric: self.derived[metric] for metric in metrics if metric in self.derived}

    def attacks_of(self, metrics: Iterable[str]) -> tuple[str, ...]:
        """The attacks that some metrics are made of, none twice."""
        parts = (self.derived[m].of if m in self.derived else (m,) for m in metrics)
        return tuple(dict.fromkeys(attack for some in parts for attack in some))

    def confused_in(self, item: Classes) -> tuple[str, ...]:
        """The attacks under which an item counts true and predicted classes."""
        attacks = [metric for metric in item.metrics if metric in self.attacks]
        return item.confusion or tuple(attacks[-1:])

    def grids(self) -> Iterator[tuple[str, Grid]]:
        """Every grid with its place in the config."""
        for name, item in self.items.items():
            yield from item.grids_at(f"items.{name}")
