"""Items with their cells: the numbers that a table, figure or comparison is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint, Evaluation, evaluation_name
from raat_core.specs.threat_model import ThreatModel
from raat_sweep.config.attacks import Changes
from raat_sweep.config.items import Comparison, Item
from raat_sweep.plan.attacks import Asked, Attacks
from raat_sweep.plan.points import Part, Point


@dataclass(frozen=True)
class PlannedAttack:
    """An attack on cells of an item."""

    name: str
    changes: Changes
    """What a grid varies of it."""
    settings: Evaluation
    threat: ThreatModel
    """Of the cells."""


@dataclass(frozen=True)
class PlannedItem:
    """An item of a config, and its parts with the points of each."""

    item: Item
    parts: Sequence[Part]
    attack_settings: Attacks

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per number that an item is made of: its place in it, and the file that has it.

        A row of a table has `Point.row`, one of a figure `panel`, `series` and `x`, one of a
        comparison `part` and `Point.row`; all `seed`, `metric`, `cell` and `record`. A curve over
        epochs is one row without `x` and `record`: its points are in the cell's history.
        """
        return [
            {
                **self._place(part, point),
                "seed": point.seed,
                "metric": metric,
                "cell": point.cell.name,
                "record": self._record(part, point, metric) if part.attacks else None,
            }
            for part in self.parts
            for point in part.points
            for metric in part.metrics
        ]

    def _place(self, part: Part, point: Point) -> dict[str, Any]:
        if isinstance(self.item, Comparison):
            return {"part": part.name, **point.row}
        return part.place_of(point)

    def _record(self, part: Part, point: Point, attack: str) -> str:
        evaluation = self.attack_settings.on(point.cell, attack, point.changes)
        return evaluation_name(evaluation, part.checkpoint)

    @property
    def cells(self) -> list[Cell]:
        """Its cells; none twice."""
        points = [point for part in self.parts for point in part.points]
        return list({point.cell.name: point.cell for point in points}.values())

    @property
    def curves(self) -> list[str]:
        """Names of the cells of whose history it draws curves; none twice."""
        parts = [part for part in self.parts if not part.attacks]
        return list(dict.fromkeys(point.cell.name for part in parts for point in part.points))

    @property
    def attacks(self) -> list[PlannedAttack]:
        """Every attack on its cells, in every threat model; none twice.

        On data sets of few classes, it may be another one, of another label.
        """
        found: dict[tuple[str, Changes, ThreatModel, str], PlannedAttack] = {}
        for cell, _, name, changes in self.asked():
            own = self.attack_settings.entries[name].changes_among(changes)
            evaluation = self.attack_settings.on(cell, name, own)
            planned = PlannedAttack(name, own, evaluation, cell.threat_model)
            found.setdefault((name, own, cell.threat_model, evaluation.label), planned)
        return list(found.values())

    def asked(self) -> Iterator[Asked]:
        """Every attack that it asks for."""
        for part in self.parts:
            for point in part.points:
                for attack in part.attacks:
                    yield Asked(point.cell, part.checkpoint, attack, point.changes)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Whose weights it reports; none twice."""
        return list(dict.fromkeys(part.checkpoint for part in self.parts))
