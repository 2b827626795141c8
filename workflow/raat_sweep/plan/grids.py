"""From the grids of tables and figures to their points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint
from raat_core.errors import UserError
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import format_fraction, parse
from raat_sweep.config.attacks import Changes
from raat_sweep.config.balls import LENGTHS, as_written, radius
from raat_sweep.config.config import Config
from raat_sweep.config.grid import OF_ATTACKS, Grid
from raat_sweep.config.items import Classes, Figure, Panel, Table
from raat_sweep.plan.data_sets import DataSets
from raat_sweep.plan.models import Models
from raat_sweep.plan.needs import NamedNeeds
from raat_sweep.plan.points import Part, Point, distinct_points

MOST_ROWS_BY_CLASS = 40
"""Of axes in one figure; images of more than 65,536 pixels a side cannot be written."""


class Grids:
    """Makes the points of tables and figures from their grids."""

    def __init__(self, config: Config, data_sets: DataSets, models: Models) -> None:
        self._config, self._data_sets, self._models = config, data_sets, models
        self._needs = NamedNeeds(config, data_sets)

    def parts_of_table(self, name: str, table: Table) -> list[Part]:
        """The one part of a table.

        Raises:
            UserError: a cell is refused, or two would stand in the same place.
        """
        return [self._part("", table, f"items.{name}", table.checkpoint)]

    def parts_of_classes(self, name: str, item: Classes) -> list[Part]:
        """The one part of accuracies by class.

        Raises:
            UserError: as `parts_of_table`, or there are more rows than a figure has place for.
        """
        part = self._part("", item, f"items.{name}", item.checkpoint)
        if len(part.rows) > MOST_ROWS_BY_CLASS:
            raise UserError(
                f"items.{name}: {len(part.rows)} rows; its figure has place for at most "
                f"{MOST_ROWS_BY_CLASS}: make several items of it"
            )
        return [part]

    def parts_of_figure(self, name: str, figure: Figure) -> list[Part]:
        """A part for each panel.

        Raises:
            UserError: as `parts_of_table`.
        """
        return [
            self._part(letter, panel, f"items.{name}.panels.{letter}", figure.checkpoint)
            for letter, panel in figure.panels.items()
        ]

    def _part(
        self, letter: str, shown: Table | Classes | Panel, where: str, checkpoint: Checkpoint
    ) -> Part:
        over_epochs = isinstance(shown, Panel) and shown.x == "epoch"
        attacks = () if over_epochs else self._config.attacks_of(shown.metrics)
        part = Part(letter, shown, list(self._points(where, shown.grids)), attacks, checkpoint)
        return replace(part, points=distinct_points(where, part))

    def _points(self, where: str, grids: Sequence[Grid]) -> Iterator[Point]:
        """The cells of some grids, and what is varied of attacks on them: data sets first, seeds
        last.
        """
        for grid in grids:
            axes = (grid.datasets, grid.architectures, grid.methods)
            for dataset, architecture, label in itertools.product(*axes):
                shared = self._shared(grid, dataset, architecture)
                threat = shared["threat_model"]
                for varied in _settings(grid.varied_in_methods):
                    method = self._config.methods[label].replace(varied)
                    named = {key: method.shown(key, value) for key, value in varied.items()}
                    method = self._needs.settings(method, dataset, threat)
                    specs = ({**shared, "method": method, "seed": seed} for seed in grid.seeds)
                    cells = [parse(Cell, spec, where) for spec in specs]
                    for changed in _settings(grid.varied_in_attacks):
                        shown = {**named, **_shown(changed, threat)}
                        for cell in cells:
                            yield Point(cell, label, shown, cell.seed, _changes(changed))
            for dataset, label in itertools.product(grid.datasets, grid.models):
                threat = self._threat(grid, dataset)
                points = list(self._models.points(label, dataset, threat, where))
                for changed in _settings(grid.varied_in_attacks):
                    shown, changes = _shown(changed, threat), _changes(changed)
                    for point in points:
                        yield replace(point, varied=shown, changes=changes)

    def _threat(self, grid: Grid, dataset: str) -> ThreatModel:
        return self._config.threat_models[grid.threat_model].resolve(dataset)

    def _shared(self, grid: Grid, dataset: str, architecture: str) -> dict[str, Any]:
        """What the cells of a grid share in their specs, but for the method."""
        config = self._config
        threat = self._threat(grid, dataset)
        return {
            **self._data_sets.spec(dataset),
            "architecture": config.architectures.get(architecture, architecture),
            "threat_model": threat,
            "selection": config.selection.resolve(config.attacks, threat),
            **self._needs.of_recipe(config.recipes[grid.recipe], dataset, threat),
            "precision": config.precision,
        }


def _changes(varied: Mapping[str, Any]) -> Changes:
    """Varied settings of attacks; of equal lengths, the same text."""
    return tuple((k, as_written(v) if k in LENGTHS else v) for k, v in varied.items())


def _shown(varied: Mapping[str, Any], threat: ThreatModel) -> dict[str, Any]:
    """What tables and figures print for varied settings of attacks: a radius in pixels."""
    shown = {OF_ATTACKS + key: value for key, value in _changes(varied)}
    epsilon = radius(varied["epsilon"], threat) if "epsilon" in varied else None
    if epsilon is not None:
        shown[f"{OF_ATTACKS}epsilon"] = format_fraction(epsilon)
    return shown


def _settings(vary: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of varied settings; one without any if none are."""
    for values in itertools.product(*vary.values()):
        yield dict(zip(vary, values, strict=True))
