"""Where every cell of a sweep stands, from files alone.

Others write these files at the same time: none is trusted to be there or whole.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import Progress, read_progress
from raat_core.cells.manifest import last_session
from raat_core.errors import UserError
from raat_core.files.checksums import read_json
from raat_sweep.monitor.failures import Failure, Failures
from raat_sweep.monitor.jobs import STATES, Job, State, read_jobs
from raat_sweep.plan.plan import Plan
from raat_sweep.results.listing import changes_in, names_in
from raat_sweep.results.markers import shard_name

ACTIVE_SECONDS = 120.0
"""Without a job in the journal, a cell that changed since then is being worked on."""
PACE_EPOCHS = 10
"""So many of the last epochs, at least, say how long the next ones take."""


@dataclass(frozen=True)
class Row:
    """One cell of the plan."""

    cell: str
    state: State
    job: str
    """Its id; empty without one."""
    node: str
    epoch: int
    """How many are trained."""
    epochs: int
    loss: float | None
    """Of the last epoch."""
    robust_accuracy: float | None
    """The last one on the selection split, in percent."""
    training_left: float | None
    """Seconds; of a training that runs."""
    seconds: float
    """What whole epochs and finished attack jobs took, by the clock on the wall."""
    on_gpu: bool
    note: str
    """With `{age}` where `age` belongs."""
    age: float
    """Seconds."""
    cause: str
    """Why it failed, in one line."""
    log: str
    """The log that says so; empty if it is the journal."""


@dataclass(frozen=True)
class Forecast:
    """When everything is done that has not failed."""

    seconds: float
    at_a_time: int
    """Cells that are worked on now, and taken to be from now on."""


@dataclass(frozen=True)
class Sweep:
    """All cells of a plan."""

    rows: list[Row]
    """In the order of `STATES`, then of the plan."""
    forecast: Forecast | None
    """None if the files do not say enough."""
    warnings: tuple[str, ...]


def look(plan: Plan, journal: Path, now: float | None = None) -> Sweep:
    """All cells of a plan as they are now.

    Args:
        plan: of a config, whose results folder is seen from the working directory.
        journal: the folder of the jobs' journal, if there is one.
        now: in seconds since 1970.
    """
    now = time.time() if now is None else now
    results = Path(plan.config.results)
    jobs, warnings = read_jobs(journal, results / "cells", now)
    failures = Failures(results)
    lists = defaultdict(list)
    for cell, attacks in plan.jobs.lists:
        summary = plan.jobs.summary_name(cell, attacks)
        shards = plan.jobs.shards[cell, attacks]
        lists[cell].append(_AttackList(attacks, summary, shards))
    works = [_work(cell, results / "cells", lists[name]) for name, cell in plan.cells.items()]
    rows = [
        _row(work, _standing(work, jobs.get(work.cell.name, []), failures, now), now)
        for work in works
    ]
    return Sweep(
        rows=sorted(rows, key=lambda row: STATES.index(row.state)),
        forecast=_forecast(works, rows),
        warnings=warnings,
    )


@dataclass(frozen=True)
class _AttackList:
    """One of a cell's attack lists."""

    name: str
    summary: str
    """Name of the file that ends it."""
    shards: int

    @property
    def shard_names(self) -> list[str]:
        """Names of the files that end its shards; none if it is not shared out."""
        numbers = range(1, self.shards + 1) if self.shards > 1 else ()
        return [shard_name(self.name, number, self.shards) for number in numbers]


@dataclass(frozen=True)
class _Work:
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
        return self.folder.manifest.name in self.files

    @property
    def is_done(self) -> bool:
        return self.is_trained and None not in self.attacks.values()

    @property
    def changed_at(self) -> float:
        return max(self.files.values(), default=0.0)

    @property
    def seconds(self) -> float:
        """What it took so far."""
        attacks = [seconds or 0.0 for seconds in self.attacks.values()]
        return sum(self.progress.seconds) + sum(attacks)

    @property
    def epochs_left(self) -> int:
        left = self.cell.recipe.epochs - self.progress.epoch
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

    @property
    def attacking(self) -> str:
        """The note of a cell that is being attacked."""
        done = f", {sum(self.shards.values())} of {len(self.shards)} shards done"
        return f"attacking{done if self.shards else ''}"


def _work(cell: Cell, cells: Path, lists: Sequence[_AttackList]) -> _Work:
    """Read a cell's folder."""
    folder = CellFolder(cells / cell.name)
    files = changes_in(folder.path)
    left = [name for each in lists if each.summary not in files for name in each.shard_names]
    ended = names_in(folder.path / "shards") if left and "shards" in files else []
    if left and "records" in files:
        files.update({"records/parts": _changed_at(folder.parts)})
    return _Work(
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


@dataclass(frozen=True)
class _Standing:
    """A cell's state, and where it comes from."""

    state: State
    job: Job | None = None
    note: str = ""
    at: float = 0.0
    """For the note's `{age}`."""
    cause: str = ""
    log: str = ""


def _standing(work: _Work, jobs: Sequence[Job], failures: Failures, now: float) -> _Standing:
    """What the journal says, unless the cell's folder says that somebody is at work without it."""
    if work.is_done:
        return _Standing("done", jobs[-1] if jobs else None)
    left = sorted((job for job in jobs if job.state and work.lacks(job)), key=_urgency)
    worst = left[0] if left else None
    is_live = any(job.state not in ("failed", "lost") for job in left)
    if worst and worst.state and worst.state != "failed" and is_live:
        note = work.attacking if work.is_trained and worst.state == "running" else ""
        return _Standing(worst.state, worst, worst.note or note, worst.at)
    failure = failures.of(work.folder)
    over = max([*(job.at for job in left), failure.at if failure else 0.0])
    if not is_live and work.is_active(now) and work.changed_at > over:
        return _Standing("running", None, "active {age} ago", work.changed_at)
    if worst and worst.state == "lost":
        return _Standing("lost", worst, worst.note, worst.at)
    if worst or failure:
        return _failed(worst, failure)
    note = "last change {age} ago" if work.progress.epoch else ""
    return _Standing("trained" if work.is_trained else "waiting", None, note, work.changed_at)


def _urgency(job: Job) -> int:
    return STATES.index(job.state) if job.state else len(STATES)


def _failed(job: Job | None, failure: Failure | None) -> _Standing:
    """With the cause that the log names, if it is of this attempt: it says more than the journal's.

    The plugin notes its own in the log, too.
    """
    if failure is not None and (job is None or failure.at >= job.sent_at):
        return _Standing("failed", job, cause=failure.reason, log=str(failure.log))
    return _Standing("failed", job, cause=job.cause if job else "")


def _row(work: _Work, standing: _Standing, now: float) -> Row:
    job = standing.job
    session = last_session(work.folder) if work.files else {}
    # Where it was trained before is not where it is.
    before = {} if standing.state in ("pending", "waiting") else session
    return Row(
        cell=work.cell.name,
        state=standing.state,
        job=job.id if job else str(before.get("scheduler_job") or ""),
        node=job.node if job and job.node else str(before.get("host") or ""),
        epoch=work.cell.recipe.epochs - work.epochs_left,
        epochs=work.cell.recipe.epochs,
        loss=work.progress.loss,
        robust_accuracy=work.progress.robust_accuracy,
        training_left=work.training_left(now) if standing.state == "running" else None,
        seconds=work.seconds,
        on_gpu=bool(job and job.on_gpu) or session.get("device") == "cuda",
        note=standing.note,
        age=max(0.0, now - standing.at),
        cause=standing.cause,
        log=standing.log,
    )


def _forecast(works: Sequence[_Work], rows: Sequence[Row]) -> Forecast | None:
    """None where nothing runs, or where something is left like which nothing has been measured."""
    paces = _means((_kind(work.cell), work.pace) for work in works)
    attacks = _means(
        (_attack_kind(work.cell, attacks), seconds)
        for work in works
        for attacks, seconds in work.attacks.items()
    )
    running: list[float] = []
    queue: list[float] = []
    for work, row in zip(works, rows, strict=True):
        if row.state in ("failed", "lost", "done"):
            continue
        left = _seconds_left(work, row, paces, attacks)
        if left is None:
            return None
        (running if row.state in ("running", "saving") else queue).append(left)
    if not running:
        return None
    ends = list(running)
    heapq.heapify(ends)
    for seconds in queue:
        heapq.heapreplace(ends, ends[0] + seconds)
    return Forecast(max(ends), len(running))


def _seconds_left(
    work: _Work, row: Row, paces: Mapping[object, float], attacks: Mapping[object, float]
) -> float | None:
    """Of training and attacks; None if it cannot be told from this cell and those like it."""
    training = row.training_left
    if training is None:
        pace = work.pace or paces.get(_kind(work.cell))
        if pace is None and work.epochs_left:
            return None
        training = work.epochs_left * (pace or 0.0)
    missing = [name for name, seconds in work.attacks.items() if seconds is None]
    costs = [attacks.get(_attack_kind(work.cell, name)) for name in missing]
    known = [
        cost / work.jobs_of(name)
        for name, cost in zip(missing, costs, strict=True)
        if cost is not None
    ]
    return training + sum(known) if len(known) == len(missing) else None


def _kind(cell: Cell) -> object:
    """Cells of one kind take about as long for an epoch."""
    method, steps = cell.method, cell.threat_model.steps
    precision = cell.precision.in_names
    return cell.dataset, cell.architecture, method.name, steps, cell.recipe.batch_size, precision


def _attack_kind(cell: Cell, attacks: str) -> object:
    return cell.dataset, cell.architecture, attacks


def _means(values: Iterable[tuple[object, float | None]]) -> dict[object, float]:
    found = defaultdict(list)
    for kind, value in values:
        if value is not None:
            found[kind].append(value)
    return {kind: sum(some) / len(some) for kind, some in found.items()}
