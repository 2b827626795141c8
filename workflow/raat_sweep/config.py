"""What a config may say. The models below are the reference; schema and defaults come from them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import Field, ValidationError, WithJsonSchema, field_validator, model_validator

from raat_core.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.errors import UserError
from raat_core.methods.base import MethodSettings, load_plugin
from raat_core.precision import FP32, Precision
from raat_core.spec import (
    FOLDER_NAME,
    ArchitectureName,
    AutoAttackEvaluation,
    Checkpoint,
    CleanEvaluation,
    Evaluation,
    MethodField,
    Norm,
    PgdEvaluation,
    Recipe,
    Selection,
    ThreatModel,
    check_folder_name,
)
from raat_core.validation import Frozen, PixelFraction, explain, parse, suggest

WITH_TRAINING = "training"
"""The job whose attacks run in the process that trains the cell."""
BUILT_IN_DATA_SETS = tuple(name for name in DATA_SETS if "@" not in name)
ITEM_NAME = r"[A-Za-z][A-Za-z0-9_-]*"
DataSetName: TypeAlias = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "anyOf": [{"enum": list(BUILT_IN_DATA_SETS)}, {"pattern": FOLDER_NAME}]}
    ),
]
"""Of the catalogue, or of the config's own `datasets`, which `Config` looks it up in."""


GridArchitecture: TypeAlias = Annotated[
    str, WithJsonSchema({"anyOf": [{"enum": list(ARCHITECTURES)}, {"type": "string"}]})
]
"""Of the catalogue, or of the config's own `architectures`, which `Config` looks it up in."""


class BallOverride(Frozen):
    """Another ball for one data set."""

    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")


class ThreatModelEntry(Frozen):
    """A threat model by name, with other balls for data sets that need them."""

    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")
    steps: int = Field(10, ge=1, description="Steps of the training attack.")
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
    batch_size: int = Field(256, ge=1, description="Images at a time; random draws depend on it.")
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
    steps: int = Field(ge=1, description="Number of steps.")
    step_size: PixelFraction | None = Field(None, description="null: the threat model's.")
    restarts: int = Field(1, ge=1, description="Random starts; one success counts.")

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
    CleanEntry | PgdEntry | AutoAttackEntry, Field(discriminator="kind")
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

    path: str = Field(min_length=1, description="The folder; relative paths start where you run.")
    image_size: int = Field(
        ge=4,
        le=1024,
        description="Height and width. Images of another size are scaled until their shorter side "
        "is this, and cropped to their centre.",
    )


class Grid(Frozen):
    """Cells: data sets x architectures x methods x varied settings x seeds."""

    datasets: tuple[DataSetName, ...] = Field(min_length=1, description="Data sets.")
    architectures: tuple[GridArchitecture, ...] = Field(
        min_length=1, description="Architectures, or names from `architectures`."
    )
    methods: tuple[str, ...] = Field(min_length=1, description="Labels from `methods`.")
    seeds: tuple[int, ...] = Field(min_length=1, description="One training each; ≥ 2 give a std.")
    threat_model: str = Field("linf", description="Name from `threat_models`.")
    recipe: str = Field("default", description="Name from `recipes`.")
    vary: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="Method settings to vary, each with its values."
    )

    @model_validator(mode="after")
    def _check_repeats(self) -> Grid:
        for key in ("datasets", "architectures", "methods", "seeds"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} = {list(values)}: the same value stands there twice")
        for seed in self.seeds:
            if not 0 <= seed < 2**31:
                raise ValueError(f"seeds = {list(self.seeds)}: must be from 0 to 2^31 - 1")
        for setting, values in self.vary.items():
            if not values:
                raise ValueError(f"vary.{setting} = []: must have at least one value")
        return self


class Table(Frozen):
    """A table laid out as Table 1 of the paper."""

    kind: Literal["table"] = "table"
    title: str = Field(description="Caption.")
    source: str = Field("", description="Where it comes from, for the report's caption.")
    grids: tuple[Grid, ...] = Field(min_length=1, description="What the rows are made of.")
    metrics: tuple[str, ...] = Field(
        min_length=1, description="Columns: names from `attacks` or `derived`."
    )
    cited: str | None = Field(
        None,
        description="A CSV of published numbers (as config/published/*.csv); its rows for the data "
        "sets, architectures and balls of this table stand beside the measured ones, marked.",
    )
    ours: tuple[str, ...] = Field(
        (), description="Methods whose best is compared with the best of the others in a last row."
    )
    checkpoint: Checkpoint = Field("best", description="Which weights are reported.")


class Panel(Frozen):
    """A column of a figure: one row of axes per metric, lines over x."""

    title: str = Field(description="What stands above it.")
    x: str = Field(description="`epoch`, `method`, or the setting in `vary` that is on the x axis.")
    x_label: str = Field(description="Label of the x axis, with its unit.")
    metrics: tuple[str, ...] = Field(
        min_length=1,
        description="Names from `attacks` or `derived`; with x: epoch, `clean` and `robust` (the "
        "PGD accuracy on the split that chooses the best checkpoint).",
    )
    grids: tuple[Grid, ...] = Field(min_length=1, description="What the lines are made of.")
    labels: dict[str, str] = Field(
        default_factory=dict, description="Other names for methods in this panel's legend."
    )

    @model_validator(mode="after")
    def _check(self) -> Panel:
        varied = {setting for grid in self.grids for setting in grid.vary}
        allowed = ["epoch", "method", *sorted(varied)]
        if self.x not in allowed:
            raise ValueError(f"x = '{self.x}'{suggest(self.x, allowed)}")
        if self.x == "epoch" and set(self.metrics) - {"clean", "robust"}:
            raise ValueError(
                f"metrics = {list(self.metrics)}: with x: epoch, allowed: clean, robust"
            )
        return self


class Figure(Frozen):
    """A figure: panels side by side, a row of axes per metric."""

    kind: Literal["figure"] = "figure"
    title: str = Field(description="Caption.")
    source: str = Field("", description="Where it comes from, for the report's caption.")
    panels: dict[str, Panel] = Field(min_length=1, description="Panels by letter.")
    checkpoint: Checkpoint = Field("best", description="Which weights are reported.")


class Claim(Frozen):
    """A statement about two groups of cells, tested wherever an item has both."""

    claim: str = Field(description="In words.")
    source: str = Field("", description="Where it is made.")
    item: str = Field(description="Table or figure whose cells it is about.")
    panel: str | None = Field(None, description="The figure's panel, by letter.")
    metric: str = Field(description="Name from `attacks` or `derived`.")
    left: tuple[str, ...] = Field(
        min_length=1,
        description="Rows by method: a label, or `label (setting = value)` where the grid varies "
        "it, also with * for any text. Of several, the one with the highest mean.",
    )
    right: tuple[str, ...] = Field(min_length=1, description="As `left`.")
    relation: Literal["above", "equal"] = Field(
        "above", description="left is above right, or differs by less than `margin`."
    )
    margin: float = Field(
        0.0, ge=0, description="Percentage points that count as none, for relation: equal."
    )

    @model_validator(mode="after")
    def _check_margin(self) -> Claim:
        if (self.relation == "equal") != (self.margin > 0):
            allowed = "must be above 0 for relation: equal, and not given otherwise"
            raise ValueError(f"margin = {self.margin:g}: {allowed}")
        return self


class Comparison(Frozen):
    """Measured against published numbers, and claims with their tests."""

    kind: Literal["comparison"] = "comparison"
    title: str = Field(description="Caption.")
    source: str = Field("", description="Where it comes from, for the report's caption.")
    published: dict[str, str] = Field(
        default_factory=dict, description="Tables by name, each with its CSV of published numbers."
    )
    claims: tuple[Claim, ...] = Field((), description="What is tested.")
    test: Literal["samples", "seeds"] = Field(
        "samples",
        description="What decides whether a claim holds: the paired test over test images, or the "
        "one over seeds; where it cannot be made, the other. Both are printed.",
    )
    level: float = Field(0.05, gt=0, lt=1, description="Of significance.")

    @model_validator(mode="after")
    def _check(self) -> Comparison:
        if not self.published and not self.claims:
            raise ValueError("published, claims: one of them must have an entry")
        return self


Item: TypeAlias = Annotated[Table | Figure | Comparison, Field(discriminator="kind")]


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
    data: str | None = Field(
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
    methods: dict[str, MethodField] = Field(
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
        if path in (".", "/"):
            raise ValueError("must be a folder of its own")
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
        for name, item in self.items.items():
            for where, grid in _grids(name, item):
                for dataset in grid.datasets:
                    _require_data_set(f"{where}.datasets", dataset, known)
        return self

    @model_validator(mode="after")
    def _check_names(self) -> Config:
        for name, item in self.items.items():
            if not re.fullmatch(ITEM_NAME, name) or name == "cells":
                raise ValueError(
                    f"items.{name}: a name must be letters, digits, - and _, a letter first, "
                    f"and not `cells`"
                )
            for where, labels, methods in _label_uses(name, item):
                for label in labels:
                    _require(where, label, methods)
            for where, grid in _grids(name, item):
                _require(f"{where}.threat_model", grid.threat_model, self.threat_models)
                _require(f"{where}.recipe", grid.recipe, self.recipes)
                for architecture in grid.architectures:
                    self._check_architecture(where, architecture)
                for label in grid.methods:
                    _require(f"{where}.methods", label, self.methods)
                    _check_varied(where, grid, self.methods[label])
            for where, metrics in _metrics(name, item):
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
            for where, grid in (g for key, item in self.items.items() for g in _grids(key, item)):
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
            for _, metrics in _metrics(name, item)
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


def _label_uses(
    name: str, item: Table | Figure | Comparison
) -> list[tuple[str, Iterable[str], dict[str, None]]]:
    """Where an item speaks of methods by label, which, and those that it may speak of."""
    if isinstance(item, Comparison):
        return []
    if isinstance(item, Table):
        methods = dict.fromkeys(label for grid in item.grids for label in grid.methods)
        return [(f"items.{name}.ours", item.ours, methods)]
    return [
        (
            f"items.{name}.panels.{letter}.labels",
            panel.labels,
            dict.fromkeys(label for grid in panel.grids for label in grid.methods),
        )
        for letter, panel in item.panels.items()
    ]


def _grids(name: str, item: Table | Figure | Comparison) -> list[tuple[str, Grid]]:
    """Every grid of an item with its place in the config."""
    if isinstance(item, Comparison):
        return []
    if isinstance(item, Table):
        return [(f"items.{name}.grids.{i}", grid) for i, grid in enumerate(item.grids)]
    return [
        (f"items.{name}.panels.{letter}.grids.{i}", grid)
        for letter, panel in item.panels.items()
        for i, grid in enumerate(panel.grids)
    ]


def _metrics(name: str, item: Table | Figure | Comparison) -> list[tuple[str, Sequence[str]]]:
    """Every list of metrics of an item with its place in the config."""
    if isinstance(item, Comparison):
        return [(f"items.{name}.claims.{i}.metric", [c.metric]) for i, c in enumerate(item.claims)]
    if isinstance(item, Table):
        return [(f"items.{name}.metrics", item.metrics)]
    return [
        (f"items.{name}.panels.{letter}.metrics", panel.metrics)
        for letter, panel in item.panels.items()
        if panel.x != "epoch"
    ]


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


def find_file(path: str) -> Path:
    """A file that a config names: from where the program runs or, else, of this checkout."""
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
    merged = _extended(_load(find_file(path)), path, (*seen, path))
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


def _load(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    return data
