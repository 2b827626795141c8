"""From a config to cells, the attacks on each, and the points of every table and figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raat_core.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.data.cache import data_root
from raat_core.data.image_folder import describe_folder
from raat_core.errors import UserError
from raat_core.spec import (
    Cell,
    Checkpoint,
    Evaluation,
    EvaluationList,
    ImageFolder,
    ThreatModel,
    evaluation_name,
)
from raat_core.validation import format_fraction, parse
from raat_sweep.config import WITH_TRAINING, Config, Figure, Grid, Panel, Table


@dataclass(frozen=True)
class Point:
    """One cell in a table or figure, under the names that are printed."""

    cell: Cell
    label: str
    """The method's label."""
    varied: Mapping[str, Any]
    """The settings that the grid varies, with this cell's values."""

    @property
    def row(self) -> dict[str, Any]:
        """What tells this point's row in a table from others; seeds share a row."""
        threat = self.cell.threat_model
        values = ", ".join(f"{key} = {value}" for key, value in self.varied.items())
        return {
            "dataset": DATA_SETS[self.cell.dataset].title,
            "architecture": ARCHITECTURES[self.cell.architecture].title,
            "norm": threat.norm,
            "epsilon": format_fraction(threat.epsilon),
            "method": f"{self.label} ({values})" if values else self.label,
            "variant": self.cell.method.variant,
        }


@dataclass(frozen=True)
class Part:
    """A table, or one panel of a figure, and its cells."""

    letter: str
    """The panel's; empty for a table."""
    shown: Table | Panel
    points: list[Point]

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks on its cells; curves over epochs need none."""
        over_epochs = isinstance(self.shown, Panel) and self.shown.x == "epoch"
        return () if over_epochs else self.shown.metrics


@dataclass(frozen=True)
class JobKey:
    """An attack job: some attacks on one checkpoint of one cell, in one process."""

    cell: str
    checkpoint: Checkpoint
    job: str


class Plan:
    """Everything a config asks for, in the order of the config.

    A job holds every attack that any item of the config wants of a cell, so that no two jobs
    attack one cell in the same way.

    Raises:
        UserError: a cell is refused, or two cells of an item would stand in the same place.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.data = data_root(config.data)
        self._folders: dict[str, ImageFolder] = {}
        self.cells: dict[str, Cell] = {}
        self._parts = {
            name: list(self._parts_of(name, item)) for name, item in config.items.items()
        }
        self._resolved: dict[tuple[str, ThreatModel], Evaluation] = {}
        attacks: dict[JobKey, dict[str, Evaluation]] = {}
        self._jobs_by_attack: dict[tuple[str, Checkpoint, Evaluation], str] = {}
        for name, item in config.items.items():
            for part in self._parts[name]:
                _require_distinct_places(name, part)
                for point in part.points:
                    self.cells[point.cell.name] = point.cell
                    for metric in part.attacks:
                        self._check_samples(f"items.{name}", metric, point.cell)
                        key = self._job_key(point.cell, item.checkpoint, metric)
                        wanted = attacks.setdefault(key, {})
                        evaluation = self._attack(metric, point.cell)
                        if evaluation not in wanted.values():
                            wanted[metric] = evaluation
        self.lists = {
            key: EvaluationList(
                checkpoint=key.checkpoint,
                attacks=tuple(chosen[name] for name in config.attacks if name in chosen),
            )
            for key, chosen in attacks.items()
        }
        self.jobs = {(key.cell, chosen.name): chosen for key, chosen in self.lists.items()}
        self._with_training: dict[str, str] = {}
        for key, chosen in self.lists.items():
            if key.job == WITH_TRAINING:
                self._with_training.setdefault(key.cell, chosen.name)

    def attack_summary(self, cell: str, attacks: str) -> str:
        """Name of the file that says that an attack list is done, in the cell's folder.

        `run_...` is made by the process that trains the cell, for attacks of the job `training`;
        of two lists (for the best and the last checkpoint) that process runs the first.
        """
        return f"{'run' if self._with_training.get(cell) == attacks else 'attacked'}_{attacks}.json"

    def training_summary(self, cell: str) -> str:
        """Name of the file that says that a cell is trained, in the cell's folder."""
        attacks = self._with_training.get(cell)
        return self.attack_summary(cell, attacks) if attacks else "trained.json"

    def jobs_of(self, name: str) -> list[tuple[str, str]]:
        """(cell's name, attack list's name) of what an item is made from; none twice."""
        checkpoint = self.config.items[name].checkpoint
        keys = dict.fromkeys(
            self._job_key(point.cell, checkpoint, metric)
            for part in self._parts[name]
            for point in part.points
            for metric in part.attacks
        )
        return [(key.cell, self.lists[key].name) for key in keys]

    def curves_of(self, name: str) -> list[str]:
        """Names of the cells of whose history an item draws curves; none twice."""
        parts = [part for part in self._parts[name] if not part.attacks]
        return list(dict.fromkeys(point.cell.name for part in parts for point in part.points))

    def rows_of(self, name: str) -> list[dict[str, Any]]:
        """One row per number that an item shows: its place in it, and the file that has it.

        A row of a table has `Point.row`, one of a figure `panel`, `series` and `x`; both `seed`,
        `metric`, `cell` and `record`. A curve over epochs is one row without `x` and `record`: its
        points are in the cell's history.
        """
        checkpoint = self.config.items[name].checkpoint
        return [
            {
                **_place(point, part),
                "seed": point.cell.seed,
                "metric": metric,
                "cell": point.cell.name,
                "record": evaluation_name(self._attack(metric, point.cell), checkpoint)
                if part.attacks
                else None,
            }
            for part in self._parts[name]
            for point in part.points
            for metric in part.shown.metrics
        ]

    def _parts_of(self, name: str, item: Table | Figure) -> Iterator[Part]:
        if isinstance(item, Table):
            yield Part("", item, list(self._points(f"items.{name}", item.grids)))
            return
        for letter, panel in item.panels.items():
            points = self._points(f"items.{name}.panels.{letter}", panel.grids)
            yield Part(letter, panel, list(points))

    def _points(self, where: str, grids: Sequence[Grid]) -> Iterator[Point]:
        """The cells of some grids: data sets first, seeds last."""
        for grid in grids:
            axes = (grid.datasets, grid.architectures, grid.methods)
            for dataset, architecture, label in itertools.product(*axes):
                threat = self.config.threat_models[grid.threat_model].resolve(dataset)
                data = self._data_of(dataset)
                for values in itertools.product(*grid.vary.values()):
                    varied = dict(zip(grid.vary, values, strict=True))
                    method = self.config.methods[label].replace(varied)
                    for seed in grid.seeds:
                        cell = {
                            **data,
                            "architecture": architecture,
                            "method": method,
                            "threat_model": threat,
                            "recipe": self.config.recipes[grid.recipe],
                            "selection": self.config.selection,
                            "seed": seed,
                        }
                        yield Point(parse(Cell, cell, where), label, varied)

    def _data_of(self, dataset: str) -> dict[str, Any]:
        """What a cell's spec says of a data set; an image folder is read if it has changed."""
        if dataset not in self.config.datasets:
            return {"dataset": dataset}
        if dataset not in self._folders:
            entry = self.config.datasets[dataset]
            path = Path(entry.path)
            self._folders[dataset] = describe_folder(dataset, path, entry.image_size, self.data)
        folder = self._folders[dataset]
        return {"dataset": folder.register(), "image_folder": folder}

    def _check_samples(self, where: str, metric: str, cell: Cell) -> None:
        """As the config does for data sets of the catalogue."""
        if cell.image_folder is not None:
            try:
                self.config.check_samples(metric, where, cell.dataset)
            except ValueError as error:
                raise UserError(f"{error}") from None

    @property
    def prepared(self) -> list[str]:
        """Names of the data sets that are downloaded and decoded before cells need them."""
        used = dict.fromkeys(cell.dataset for cell in self.cells.values())
        return [dataset for dataset in used if DATA_SETS[dataset].prepared]

    def _job_key(self, cell: Cell, checkpoint: Checkpoint, metric: str) -> JobKey:
        """The job that an attack is part of: of equal attacks under two names, the first one's."""
        asked = cell.name, checkpoint, self._attack(metric, cell)
        job = self._jobs_by_attack.setdefault(asked, self.config.attacks[metric].job)
        return JobKey(cell.name, checkpoint, job)

    def _attack(self, metric: str, cell: Cell) -> Evaluation:
        key = metric, cell.threat_model
        if key not in self._resolved:
            self._resolved[key] = self.config.attacks[metric].resolve(cell.threat_model)
        return self._resolved[key]


def _place(point: Point, part: Part) -> dict[str, Any]:
    """Where a point stands in its table or panel, but for the seed and the metric."""
    panel = part.shown
    if isinstance(panel, Table):
        return point.row
    label = panel.labels.get(point.label, point.label)
    if panel.x == "method":
        return {"panel": part.letter, "series": "", "x": label}
    # Settings that vary beside the x axis tell lines apart.
    others = ", ".join(f"{key} = {value}" for key, value in point.varied.items() if key != panel.x)
    return {
        "panel": part.letter,
        "series": f"{label} ({others})" if others else label,
        "x": point.varied.get(panel.x),
    }


def _require_distinct_places(name: str, part: Part) -> None:
    """Refuse two cells that would be one row, or one point of a line, and not be told apart."""
    places: dict[object, str] = {}
    for point in part.points:
        place = (*_place(point, part).values(), point.cell.seed)
        other = places.setdefault(place, point.cell.name)
        if other != point.cell.name:
            where = f"items.{name}.panels.{part.letter}" if part.letter else f"items.{name}"
            raise UserError(
                f"{where}: {other} and {point.cell.name} would stand in the same place; give what "
                f"they differ in labels of its own in `methods`, or a table or panel of its own"
            )
