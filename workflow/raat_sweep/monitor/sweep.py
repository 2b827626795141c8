"""The status of every cell of a sweep, from files alone.

Others write these files at the same time: none is trusted to be there or whole.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from raat_core.cells.manifest import last_session
from raat_sweep.monitor.cell_work import AttackList, CellWork, read_work
from raat_sweep.monitor.failures import Failures
from raat_sweep.monitor.forecast import Forecast, forecast
from raat_sweep.monitor.jobs import STATES, State, read_jobs
from raat_sweep.monitor.status import Status, status_of, training_left
from raat_sweep.plan.plan import Plan


@dataclass(frozen=True)
class Row:
    """One cell of the plan: its status, its progress and what it took."""

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
class SweepStatus:
    """All cells of a plan."""

    rows: list[Row]
    """In the order of `STATES`, then of the plan."""
    forecast: Forecast | None
    """None if the files do not say enough."""
    warnings: tuple[str, ...]


def sweep_status(plan: Plan, journal: Path, now: float | None = None) -> SweepStatus:
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
    works = _read_works(plan, results / "cells")
    statuses = [status_of(work, jobs.get(work.cell.name, []), failures, now) for work in works]
    rows = [_row(work, status, now) for work, status in zip(works, statuses, strict=True)]
    return SweepStatus(
        rows=sorted(rows, key=lambda row: STATES.index(row.state)),
        forecast=forecast(works, statuses, now),
        warnings=warnings,
    )


def _read_works(plan: Plan, cells: Path) -> list[CellWork]:
    """What is done of every cell of a plan, in its order."""
    lists = defaultdict(list)
    for cell, attacks in plan.jobs.lists:
        summary = plan.jobs.summary_name(cell, attacks)
        shards = plan.jobs.shards[cell, attacks]
        lists[cell].append(AttackList(attacks, summary, shards))
    return [read_work(cell, cells, lists[name]) for name, cell in plan.cells.items()]


def _row(work: CellWork, status: Status, now: float) -> Row:
    job = status.job
    session = last_session(work.folder) if work.files else {}
    # Where it was trained before is not where it is.
    before = {} if status.state in ("pending", "waiting") else session
    return Row(
        cell=work.cell.name,
        state=status.state,
        job=job.id if job else str(before.get("scheduler_job") or ""),
        node=job.node if job and job.node else str(before.get("host") or ""),
        epoch=work.epochs - work.epochs_left,
        epochs=work.epochs,
        loss=work.progress.loss,
        robust_accuracy=work.progress.robust_accuracy,
        training_left=training_left(work, status, now),
        seconds=work.seconds,
        on_gpu=bool(job and job.on_gpu) or session.get("device") == "cuda",
        note=status.note,
        age=max(0.0, now - status.at),
        cause=status.cause,
        log=status.log,
    )
