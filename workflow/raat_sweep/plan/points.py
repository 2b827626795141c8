"""Points of tables and figures: cells under the names that are printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint
from raat_core.errors import UserError
from raat_core.validation import format_fraction
from raat_sweep.config.attacks import Changes
from raat_sweep.config.grid import OF_ATTACKS
from raat_sweep.config.items import Classes, Panel, Table


@dataclass(frozen=True)
class Point:
    """One cell in a table or figure, under the names that are printed."""

    cell: Cell
    label: str
    """The method's label."""
    varied: Mapping[str, Any]
    """The settings that the grid varies, with this point's values as they are printed."""
    seed: int
    """The cell's; of several files of weights of one model, which of them, from 0."""
    changes: Changes = ()
    """Those of attacks."""
    architecture_title: str | None = None
    """In place of the architecture's own."""

    @cached_property
    def row(self) -> dict[str, Any]:
        """What tells this point's row in a table from others; seeds share a row."""
        threat = self.cell.threat_model
        values = ", ".join(f"{key} = {value}" for key, value in self.varied.items())
        return {
            "dataset": DATA_SETS[self.cell.dataset].title,
            "architecture": self.architecture_title or ARCHITECTURES[self.cell.architecture].title,
            "norm": threat.norm,
            "epsilon": format_fraction(threat.epsilon),
            "method": f"{self.label} ({values})" if values else self.label,
            "variant": self.cell.method.variant,
        }


@dataclass(frozen=True)
class Part:
    """A table, one panel of a figure, or what a comparison needs of them, and its cells.

    An item of accuracies by class has the rows of a table.
    """

    name: str
    """The panel's letter; of a comparison, the table, or the number of the claim and its
    side, as in `0.left`; else empty."""
    shown: Table | Classes | Panel
    points: list[Point]
    attacks: tuple[str, ...]
    """Names of the attacks on its cells; curves over epochs need none."""
    checkpoint: Checkpoint

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the measured numbers are of."""
        return self.attacks or self.shown.metrics

    @property
    def rows(self) -> list[dict[str, Any]]:
        """`Point.row` of all points, none twice."""
        unique = {tuple(point.row.values()): point.row for point in self.points}
        return list(unique.values())

    def place_of(self, point: Point) -> dict[str, Any]:
        """Where a point stands in the table or panel, but for the seed and the metric."""
        panel = self.shown
        if not isinstance(panel, Panel):
            return point.row
        label = panel.labels.get(point.label, point.label)
        if panel.x == "method":
            return {"panel": self.name, "series": "", "x": label}
        # Settings that vary beside the x axis tell lines apart.
        others = ", ".join(
            f"{key} = {value}" for key, value in point.varied.items() if key != panel.x
        )
        return {
            "panel": self.name,
            "series": f"{label} ({others})" if others else label,
            "x": point.varied.get(panel.x),
        }


def distinct_points(where: str, part: Part) -> list[Point]:
    """A part's points without those that overlapping grids ask for twice.

    Raises:
        UserError: two cells, or attacks with other settings, would be one row, or one point of a
            line, and not be told apart.
    """
    places: dict[object, Point] = {}
    for point in part.points:
        place = (*part.place_of(point).values(), point.seed)
        other = places.setdefault(place, point)
        if other.cell.name != point.cell.name:
            raise UserError(
                f"{where}: {other.cell.name} and {point.cell.name} would stand in the same place; "
                f"give what they differ in labels of its own in `methods`, or a table or panel "
                f"of its own"
            )
        if other.changes != point.changes:
            settings = [_in_words(some.changes) for some in (other, point)]
            raise UserError(
                f"{where}: {' and '.join(settings)} would stand in the same place; choose one for "
                f"`x`, or another panel"
            )
    return list(places.values())


def _in_words(changes: Changes) -> str:
    return ", ".join(f"{OF_ATTACKS}{key} = {value}" for key, value in changes) or "no change"
