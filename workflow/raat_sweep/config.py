"""A whole config: what it starts from, what it may say, and reading it.

`Config` and the models of its entries and items are the reference: schema and defaults come from
them.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from raat_core.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.errors import UserError
from raat_core.methods.base import MethodSettings, load_plugin
from raat_core.plain_data import parse_text, read_text
from raat_core.precision import FP32, Precision
from raat_core.spec import ArchitectureName, MethodField, Recipe, Selection, check_folder_name
from raat_core.validation import Frozen, explain, parse, refuse_control_characters, suggest
from raat_sweep.entries import (
    BUILT_IN_DATA_SETS,
    AttackEntry,
    DerivedEntry,
    ImageFolderEntry,
    OneLine,
    ThreatModelEntry,
)
from raat_sweep.item_models import Claim, Comparison, Figure, Grid, Item, Table

ITEM_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,99}"
"""Also a file's name, which file systems bound."""
DEFAULTS: dict[str, dict[str, Any]] = {
    "threat_models": {
        "linf": {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"},
        "l2": {"norm": "l2", "epsilon": "128/255", "step_size": "32/255"},
    },
    "recipes": {
        "default": {},
        "rebat": {"epochs": 200, "decay_epochs": [100, 150], "decay_factor": "2/3"},
    },
    "methods": {
        "PGD-AT": {"name": "pgd-at"},
        "TRADES": {"name": "trades"},
        "MART": {"name": "mart"},
        "Cons-AT": {"name": "cons-at"},
        "RAAT": {"name": "raat"},
        "RAAT++": {"name": "raat++"},
        "WA": {"name": "wa"},
        "ReBAT": {"name": "rebat"},
        "RAAT#": {"name": "raat#"},
    },
    "attacks": {
        "clean": {"kind": "clean", "title": "Clean"},
        "pgd10": {"kind": "pgd", "title": "PGD-10", "steps": 10},
        "pgd100": {"kind": "pgd", "title": "PGD-100", "steps": 100},
        "cw": {"kind": "pgd", "title": "C&W", "objective": "margin", "steps": 30},
        "aa": {"kind": "autoattack", "title": "AA"},
    },
    "derived": {
        "mean": {"kind": "mean", "of": ["clean", "aa"], "title": "Mean"},
        "nrr": {"kind": "harmonic-mean", "of": ["clean", "aa"], "title": "NRR"},
    },
}
"""What every config starts from (the paper's settings); a config's entries are added or replace."""


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


ROOT = Path(__file__).resolve().parents[2]
LONGEST_RESULTS = 200
"""Characters of the path: what lies below has to fit into a path, too."""


def find_file(path: str) -> Path:
    """A file that a config names: from where the program runs or, else, of this checkout.

    Raises:
        ValueError: no file can have this name.
    """
    refuse_control_characters(path)
    given = Path(path)
    return ROOT / given if not given.exists() and (ROOT / given).exists() else given


def read_config(data: Mapping[str, Any], source: str) -> Config:
    """Validate a config; its plugins are loaded first, so that their methods are known.

    Raises:
        UserError: one line per mistake, naming key, value and what is allowed.
    """
    data = _extended(data, source)
    plugins = data.get("plugins") or []
    if not isinstance(plugins, (list, tuple)) or not all(isinstance(p, str) for p in plugins):
        raise UserError(f"{source}: plugins = {plugins!r}: must be a list of files or modules")
    for plugin in plugins:
        if os.pathsep in plugin:
            raise UserError(
                f"{source}: plugins = '{plugin}': must have no '{os.pathsep}', which separates "
                f"plugins in the environment of jobs"
            )
        try:
            load_plugin(plugin)
        except UserError as error:
            raise UserError(f"{source}: plugins: {error}") from error
    config = parse(Config, dict(data), source)
    if not config.items:
        raise UserError(f"{source}: items: is missing: no table or figure is asked for")
    return config


def _extended(data: Mapping[str, Any], source: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A config with the entries of those that it extends."""
    path = data.get("extends")
    if path is None:
        return dict(data)
    if not isinstance(path, str):
        raise UserError(f"{source}: extends = {path!r}: must be a config's path")
    if path in seen:
        raise UserError(f"{source}: extends = '{path}': these configs extend each other")
    try:
        found = find_file(path)
    except ValueError as error:
        raise UserError(f"{source}: extends = {path!r}: {error}") from None
    merged = _extended(_load(found), path, (*seen, path))
    for key, value in data.items():
        before = merged.get(key)
        is_mapping = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = {**before, **value} if is_mapping else value  # type: ignore[dict-item]
    return merged


def read_config_file(path: Path) -> Config:
    """`read_config` of a YAML file.

    Raises:
        UserError: the file cannot be read, is not YAML, or says something that is not allowed.
    """
    return read_config(_load(path), str(path))


def check_config_files(paths: Iterable[Path]) -> None:
    """Refuse files that another program has read, and read more than it made known.

    Raises:
        UserError: a key stands twice in one of them.
    """
    for path in paths:
        if "__use_yte__" not in read_text(path):  # Else it is a template, not yet YAML.
            _load(path)


def _load(path: Path) -> dict[str, Any]:
    data = parse_text(read_text(path), str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    return data
