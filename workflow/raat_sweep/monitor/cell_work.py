"""What is done of a cell, as its folder says.

Others write these files at the same time: none is trusted to be there or whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import Progress, read_progress
from raat_core.errors import UserError
from raat_core.files.checksums import read_json
from raat_sweep.monitor.jobs import Job
from raat_sweep.results.listing import changes_in, names_in
from raat_sweep.results.markers import shard_names

ACTIVE_SECONDS = 120.0
"""Without a job in the journal, a cell that changed since then is being worked on."""
PACE_EPOCHS = 10
"""So many of the last epochs, at least, say how long the next ones take."""


@dataclass(frozen=True)
class AttackList:
    """One of a cell's attack lists."""

    name: str
    summary: str
    """Name of the file that ends it."""
    shards: int

    @property
    def shard_names(self) -> list[str]:
        """Names of the files that end its shards; none if it is not shared out."""
        return shard_names(self.name, self.shards) if self.shards > 1 else []


@dataclass(frozen=True)
class CellWork:
    """What is done of a cell, as its folder says."""

    cell: Cell
    folder: CellFolder
    files: Mapping[str, float]
    """When what is in the folder was last changed, by name, in seconds since 1970."""
    progress: Progress
    attacks: Mapping[str, float | None]
    """Seconds by attack list; None if it is not done."""
    shards: Mapping[str, bool]
    """Whether each shard of the lists that are not done is, by the file that ends it."""

    @property
    def is_trained(self) -> bool:
        """Whether all of its training is done."""
        return self.folder.manifest.name in self.files

    @property
    def is_done(self) -> bool:
        """Whether it is trained and attacked."""
        return self.is_trained and None not in self.attacks.values()

    @property
    def changed_at(self) -> float:
        """When anything in its folder was last changed, in seconds since 1970; 0 without one."""
        return max(self.files.values(), default=0.0)

    @property
    def seconds(self) -> float:
        """What it took so far."""
        attacks = [seconds or 0.0 for seconds in self.attacks.values()]
        return sum(self.progress.seconds) + sum(attacks)

    @property
    def epochs(self) -> int:
        """Of its whole training; 0 of given weights."""
        return self.cell.recipe.epochs if self.cell.trains else 0

    @property
    def epochs_left(self) -> int:
        """How many have still to be trained."""
        left = self.epochs - self.progress.epoch
        return 0 if self.is_trained else max(0, left)

    @property
    def pace(self) -> float | None:
        """Seconds of an epoch, by the last ones; those that are evaluated take longer."""
        recent = self.progress.seconds[-max(PACE_EPOCHS, self.cell.selection.every) :]
        return sum(recent) / len(recent) if recent else None

    def jobs_of(self, attacks: str) -> int:
        """How many jobs attack by a list that is not done."""
        return max(1, sum(name.startswith(f"shards/{attacks}_") for name in self.shards))

    def is_active(self, now: float) -> bool:
        """Whether it changed lately. While a cell trains, it changes once an epoch."""
        return now - self.changed_at < max(ACTIVE_SECONDS, 2 * (self.pace or 0.0))

    def training_left(self, now: float) -> float | None:
        """Seconds, if it runs."""
        if self.is_trained or self.pace is None:
            return None
        since = max(0.0, now - self.files[self.folder.history.name])
        return max(0.0, self.epochs_left * self.pace - min(since, self.pace))

    def lacks(self, job: Job) -> bool:
        """Whether a job has still to make something in the cell's folder."""
        inside = self.folder.path.absolute()
        outputs = [Path(output).absolute() for output in job.outputs]
        names = [path.relative_to(inside).as_posix() for path in outputs if inside in path.parents]
        # What ends a shard goes when its list is done: it lacks nothing then.
        return any(
            not self.shards.get(name, True) if "/" in name else name not in self.files
            for name in names
        )


def read_work(cell: Cell, cells: Path, lists: Sequence[AttackList]) -> CellWork:
    """Read a cell's folder; `cells` is the folder of all cells."""
    folder = CellFolder(cells / cell.name)
    files = changes_in(folder.path)
    left = [name for each in lists if each.summary not in files for name in each.shard_names]
    ended = names_in(folder.path / "shards") if left and "shards" in files else []
    if left and "records" in files:
        files.update({"records/parts": _changed_at(folder.parts)})
    return CellWork(
        cell=cell,
        folder=folder,
        files=files,
        progress=read_progress(folder) if folder.history.name in files else Progress(),
        attacks={
            each.name: _attack_seconds(folder.path / each.summary)
            if each.summary in files
            else None
            for each in lists
        },
        shards={name: Path(name).name in ended for name in left},
    )


def _changed_at(folder: Path) -> float:
    """When a folder's list of files was last changed; 0 if it is not there."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _attack_seconds(summary: Path) -> float:
    """What the attacks of a list took; 0 if the file does not say."""
    try:
        seconds = float(sum(attack["seconds"] for attack in read_json(summary)["attacks"]))
    except (UserError, LookupError, TypeError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
