"""Attack jobs: which attacks run in one process, in how many shards, and what says that they ran.

A job holds every attack that any item of the config wants of a cell, so that no two jobs attack
one cell in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint, Evaluation, EvaluationList
from raat_core.cells.transfer import sources_of
from raat_sweep.config.attacks import WITH_TRAINING
from raat_sweep.plan.attacks import Asked, Attacks
from raat_sweep.plan.items import PlannedItem
from raat_sweep.results.markers import (
    TRAINED,
    attacked_name,
    joined_name,
    run_name,
    shards_made_in,
)


@dataclass(frozen=True)
class JobKey:
    """An attack job: some attacks on one checkpoint of one cell, in one process."""

    cell: str
    checkpoint: Checkpoint
    job: str


class AttackJobs:
    """The attack jobs of a plan; they go by the names of a cell and of an attack list.

    Raises:
        UserError: an attack cannot be made on a cell.
    """

    def __init__(
        self,
        items: Mapping[str, PlannedItem],
        cells: Mapping[str, Cell],
        attacks: Attacks,
        results: Path,
    ) -> None:
        self._attacks = attacks
        self._jobs_by_attack: dict[tuple[str, Checkpoint, Evaluation], str] = {}
        wanted = self._wanted(items)
        self._by_key = {
            key: EvaluationList(
                checkpoint=key.checkpoint,
                attacks=tuple(
                    evaluation for name in attacks.entries for evaluation in chosen.get(name, ())
                ),
            )
            for key, chosen in wanted.items()
        }
        self.lists = {(key.cell, chosen.name): chosen for key, chosen in self._by_key.items()}
        """What is attacked, at which checkpoint and how."""
        self.shards = {
            (key.cell, chosen.name): self._shards(cells[key.cell], chosen, wanted[key], results)
            for key, chosen in self._by_key.items()
        }
        """In how many jobs a list's batches are attacked."""
        self._with_training: dict[str, str] = {}
        for key, chosen in self._by_key.items():
            if key.job == WITH_TRAINING:
                self._with_training.setdefault(key.cell, chosen.name)

    def _wanted(
        self, items: Mapping[str, PlannedItem]
    ) -> dict[JobKey, dict[str, list[Evaluation]]]:
        """The attacks of every job by name, as items ask for them; several if grids vary some.

        What grids vary comes last, so that a curve leaves the lists of other items' jobs, and what
        says that these are done, as they are.
        """
        found: dict[JobKey, dict[str, list[Evaluation]]] = {}
        every = [(name, asked) for name, item in items.items() for asked in item.asked()]
        for name, asked in sorted(every, key=lambda pair: bool(pair[1].changes)):
            self._attacks.check(asked, f"items.{name}")
            wanted = found.setdefault(self._key(asked), {})
            evaluation = self._attacks.on(asked.cell, asked.attack, asked.changes)
            if not any(evaluation in some for some in wanted.values()):
                wanted.setdefault(asked.attack, []).append(evaluation)
        return found

    def _key(self, asked: Asked) -> JobKey:
        """The job that an attack is part of: of equal attacks under two names, the first one's."""
        cell, checkpoint, attack, changes = asked
        made = cell.name, checkpoint, self._attacks.on(cell, attack, changes)
        job = self._jobs_by_attack.setdefault(made, self._attacks.entries[attack].job)
        return JobKey(cell.name, checkpoint, job)

    def _shards(
        self, cell: Cell, chosen: EvaluationList, names: Iterable[str], results: Path
    ) -> int:
        """As many as the config says of a job's attacks, which agree; no more than batches.

        A list that is attacked stays with the shards it was made in, whatever the config says
        now: Snakemake makes a file again whose inputs are others, and all its shards for nothing.
        """
        made = shards_made_in(results / "cells" / cell.name, chosen.name)
        if made is not None:
            return made
        asked = self._attacks.entries[next(iter(names))].shards_of(cell.named_architecture)
        size = DATA_SETS[cell.dataset].test_size
        return min(asked, max(attack.batches(size) for attack in chosen.attacks))

    def of(self, item: PlannedItem) -> list[tuple[str, str]]:
        """(cell's name, attack list's name) of what an item is made from; none twice."""
        keys = dict.fromkeys(self._key(asked) for asked in item.asked())
        return [(key.cell, self._by_key[key].name) for key in keys]

    def sources(self, cell: str, attacks: str) -> list[str]:
        """Names of the cells whose models an attack list uses; none twice."""
        of_list = self.lists[cell, attacks].attacks
        names = (source.cell for attack in of_list for source in sources_of(attack).values())
        return list(dict.fromkeys(names))

    def summary_name(self, cell: str, attacks: str) -> str:
        """Name of the file that says that an attack list is done, in the cell's folder.

        `run_...` is made by the process that trains the cell, for attacks of the job `training`;
        of two lists (for the best and the last checkpoint) that process runs the first.
        `joined_...` is made of shards, `attacked_...` by one process.
        """
        if self._with_training.get(cell) == attacks:
            return run_name(attacks)
        return joined_name(attacks) if self.shards[cell, attacks] > 1 else attacked_name(attacks)

    def training_summary_name(self, cell: str) -> str:
        """Name of the file that says that a cell is trained, in the cell's folder."""
        attacks = self._with_training.get(cell)
        return self.summary_name(cell, attacks) if attacks else TRAINED
