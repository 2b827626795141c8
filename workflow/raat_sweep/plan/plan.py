"""From a config to cells, the attacks on each, and the points of every table and figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.errors import UserError
from raat_sweep.config.config import Config
from raat_sweep.config.items import Classes, Comparison, Figure, Table
from raat_sweep.plan.attack_jobs import AttackJobs
from raat_sweep.plan.attacks import Asked, Attacks
from raat_sweep.plan.comparisons import PlannedComparison, plan_comparison
from raat_sweep.plan.data_sets import DataSets, data_folder
from raat_sweep.plan.grids import Grids
from raat_sweep.plan.items import PlannedItem
from raat_sweep.plan.models import Models
from raat_sweep.plan.needs import NamedNeeds, helpers_of
from raat_sweep.plan.points import Part
from raat_sweep.plan.published import PublishedFiles, Row
from raat_sweep.plan.reach import check_step_sizes, notes_on_attacks
from raat_sweep.plan.schedules import notes_on_schedules
from raat_sweep.results.checksums import Reader


class Plan:
    """Everything a config asks for, in the order of the config.

    Raises:
        UserError: a cell or an attack is refused, or two cells of an item would stand in the same
            place.
    """

    def __init__(self, config: Config, reader: Reader = "other") -> None:
        """Plan a config; `reader` is who asks, as for `Checksums`."""
        self.config = config
        self.data = data_folder(config.data)
        self._published = PublishedFiles()
        data_sets = DataSets(config.datasets, self.data)
        models = Models(config, data_sets, reader)
        parts = self._parts_of_grids(Grids(config, data_sets, models))
        self.weights = models.files
        """Files of given weights by name of cell."""
        # Comparisons last: they are made of the others' cells.
        self.comparisons = self._plan_comparisons(parts)
        parts |= {name: comparison.parts for name, comparison in self.comparisons.items()}
        attacks = Attacks(config.attacks, NamedNeeds(config, data_sets), self.data)
        self.items = {
            name: PlannedItem(item, parts[name], attacks) for name, item in config.items.items()
        }
        shown = {cell.name: cell for item in self.items.values() for cell in item.cells}
        self.cells = {**shown, **self._needed_for(self.items)}
        """Those of items, then those that only others need."""
        self.jobs = AttackJobs(self.items, self.cells, attacks, Path(config.results))
        check_step_sizes(config.attacks, attacks.resolved)
        notes = [
            *notes_on_attacks(config.attacks, attacks.resolved, self.cells.values()),
            *notes_on_schedules(self.cells.values()),
        ]
        self.notes = [f"note: {note}" for note in notes]
        """What is planned and may not be meant, a line each."""

    def _parts_of_grids(self, grids: Grids) -> dict[str, Sequence[Part]]:
        """Of tables and figures, by name."""
        parts: dict[str, Sequence[Part]] = {}
        for name, item in self.config.items.items():
            if isinstance(item, Table):
                if item.cited is not None:
                    self._published.read(item.cited, f"items.{name}.cited")
                parts[name] = grids.parts_of_table(name, item)
            elif isinstance(item, Classes):
                parts[name] = grids.parts_of_classes(name, item)
            elif isinstance(item, Figure):
                parts[name] = grids.parts_of_figure(name, item)
        return parts

    def _plan_comparisons(
        self, parts: Mapping[str, Sequence[Part]]
    ) -> dict[str, PlannedComparison]:
        return {
            name: plan_comparison(name, item, self.config, parts, self._published)
            for name, item in self.config.items.items()
            if isinstance(item, Comparison)
        }

    def items_of(self, kind: str) -> list[str]:
        """Names of the items of a kind."""
        return [name for name, item in self.config.items.items() if item.kind == kind]

    def jobs_of(self, name: str) -> list[tuple[str, str]]:
        """(cell's name, attack list's name) of what an item is made from; none twice."""
        return self.jobs.of(self.items[name])

    def helpers_of(self, names: Iterable[str]) -> dict[str, Cell]:
        """Cells that some items need and do not show, by name."""
        names = list(names)
        shown = {cell.name for name in names for cell in self.items[name].cells}
        return {name: c for name, c in self._needed_for(names).items() if name not in shown}

    def _needed_for(self, names: Iterable[str]) -> dict[str, Cell]:
        """By name, the cells that those of items need, and whose models attack these."""
        asking = [(name, asked) for name in names for asked in self.items[name].asked()]
        sources = [each for name, asked in asking for each in self._sources(asked, name)]
        cells = [cell for name in names for cell in self.items[name].cells]
        return {cell.name: cell for cell in sources} | helpers_of([*cells, *sources])

    def _sources(self, asked: Asked, item: str) -> list[Cell]:
        try:
            return self.items[item].attack_settings.sources(asked)
        except ValueError as error:
            raise UserError(
                f"attacks.{asked.attack}: {error}, which items.{item} asks for"
            ) from None

    def needs_of(self, name: str) -> dict[str, dict[str, str]]:
        """Which cells those of an item need, and these in turn: names by setting, by name."""
        cells = {cell.name: cell for cell in self.items[name].cells}
        cells |= helpers_of(cells.values())
        return {
            each.name: {setting: need.cell.name for setting, need in each.needs.items()}
            for each in cells.values()
            if each.needs
        }

    def cited_rows(self, name: str) -> list[Row]:
        """The published numbers that stand in a table, as `Published.rows`."""
        item = self.config.items[name]
        if not isinstance(item, Table) or item.cited is None:
            return []
        (part,) = self.items[name].parts
        return self._published.read(item.cited, f"items.{name}.cited").about(part.rows)

    @cached_property
    def prepared(self) -> list[str]:
        """Names of the data sets that are downloaded and decoded before cells need them."""
        used = dict.fromkeys(name for cell in self.cells.values() for name in cell.data_sets)
        return [dataset for dataset in used if DATA_SETS[dataset].prepared]
