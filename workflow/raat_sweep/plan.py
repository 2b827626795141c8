"""From a config to cells, the attacks on each, and the points of every table and figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raat_core.data.catalogue import DATA_SETS
from raat_core.errors import UserError
from raat_core.models.catalogue import ARCHITECTURES
from raat_core.spec import Cell, Checkpoint, Evaluation, EvaluationList, evaluation_name
from raat_core.validation import format_fraction
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
        UserError: two cells of an item would stand in the same place.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cells: dict[str, Cell] = {}
        attacks: dict[JobKey, dict[str, Evaluation]] = {}
        for name, item in config.items.items():
            self._require_distinct_places(name, item)
            for point, metrics in self._wanted(item):
                self.cells[point.cell.name] = point.cell
                for metric in metrics:
                    key = self._job_key(point.cell, item.checkpoint, metric)
                    entry = config.attacks[metric]
                    attacks.setdefault(key, {})[metric] = entry.resolve(point.cell.threat_model)
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
        item = self.config.items[name]
        keys = dict.fromkeys(
            self._job_key(point.cell, item.checkpoint, metric)
            for point, metrics in self._wanted(item)
            for metric in metrics
        )
        return [(key.cell, self.lists[key].name) for key in keys]

    def curves_of(self, name: str) -> list[str]:
        """Names of the cells of whose history an item draws curves; none twice."""
        item = self.config.items[name]
        return list(
            dict.fromkeys(
                point.cell.name
                for panel in (item.panels.values() if isinstance(item, Figure) else ())
                if panel.x == "epoch"
                for point in self.points(panel.grids)
            )
        )

    def points(self, grids: Sequence[Grid]) -> Iterator[Point]:
        """The cells of some grids: data sets first, seeds last."""
        for grid in grids:
            axes = (grid.datasets, grid.architectures, grid.methods)
            for dataset, architecture, label in itertools.product(*axes):
                threat = self.config.threat_models[grid.threat_model].resolve(dataset)
                for values in itertools.product(*grid.vary.values()):
                    varied = dict(zip(grid.vary, values, strict=True))
                    method = self.config.methods[label].replace(varied)
                    for seed in grid.seeds:
                        cell = Cell(
                            dataset=dataset,
                            architecture=architecture,
                            method=method,
                            threat_model=threat,
                            recipe=self.config.recipes[grid.recipe],
                            selection=self.config.selection,
                            seed=seed,
                        )
                        yield Point(cell, label, varied)

    def table_rows(self, name: str) -> list[dict[str, Any]]:
        """One row per seed and metric of a table: names, and the record that has the number."""
        table = self.config.items[name]
        assert isinstance(table, Table)
        return [
            {**point.row, "seed": point.cell.seed, **self._source(point, table.checkpoint, metric)}
            for point in self.points(table.grids)
            for metric in table.metrics
        ]

    def figure_rows(self, name: str) -> list[dict[str, Any]]:
        """One row per panel, line, x and seed of a figure, and the file that has the number.

        A curve over epochs is one row, with `x` empty: its points are in the cell's history.
        """
        figure = self.config.items[name]
        assert isinstance(figure, Figure)
        return [
            {
                "panel": letter,
                "series": series,
                "x": x,
                "seed": point.cell.seed,
                **(
                    {"metric": metric, "cell": point.cell.name, "record": None}
                    if panel.x == "epoch"
                    else self._source(point, figure.checkpoint, metric)
                ),
            }
            for letter, panel in figure.panels.items()
            for point in self.points(panel.grids)
            for series, x in [_place(point, panel)]
            for metric in panel.metrics
        ]

    def _wanted(self, item: Table | Figure) -> Iterator[tuple[Point, tuple[str, ...]]]:
        """(point, attacks on it) of an item; curves over epochs need no attacks."""
        if isinstance(item, Table):
            for point in self.points(item.grids):
                yield point, item.metrics
            return
        for panel in item.panels.values():
            for point in self.points(panel.grids):
                yield point, () if panel.x == "epoch" else panel.metrics

    def _require_distinct_places(self, name: str, item: Table | Figure) -> None:
        """Refuse two cells that would be one row, or one point of a line, and not be told apart."""
        places: dict[object, str] = {}
        parts = {"": item} if isinstance(item, Table) else item.panels
        for letter, part in parts.items():
            for point in self.points(part.grids):
                shown = point.row.values() if isinstance(part, Table) else _place(point, part)
                place = (letter, *shown, point.cell.seed)
                other = places.setdefault(place, point.cell.name)
                if other != point.cell.name:
                    raise UserError(
                        f"items.{name}{f'.panels.{letter}' if letter else ''}: {other} and "
                        f"{point.cell.name} would stand in the same place; give what they differ "
                        f"in labels of its own in `methods`, or a table or panel of its own"
                    )

    def _job_key(self, cell: Cell, checkpoint: Checkpoint, metric: str) -> JobKey:
        return JobKey(cell.name, checkpoint, self.config.attacks[metric].job)

    def _source(self, point: Point, checkpoint: Checkpoint, metric: str) -> dict[str, Any]:
        attack = self.config.attacks[metric].resolve(point.cell.threat_model)
        record = evaluation_name(attack, checkpoint)
        return {"metric": metric, "cell": point.cell.name, "record": record}


def _place(point: Point, panel: Panel) -> tuple[str, Any]:
    """(line, x) of a point; settings that vary beside the x axis tell lines apart."""
    label = panel.labels.get(point.label, point.label)
    if panel.x == "method":
        return "", label
    others = ", ".join(f"{key} = {value}" for key, value in point.varied.items() if key != panel.x)
    series = f"{label} ({others})" if others else label
    return series, None if panel.x == "epoch" else point.varied.get(panel.x)
