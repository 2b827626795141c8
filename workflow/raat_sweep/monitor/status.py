"""The status of a cell: what the journal of jobs, its folder and its logs say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raat_core.cells.needs import needed_folder
from raat_sweep.monitor.cell_work import CellWork
from raat_sweep.monitor.failures import Failure, Failures
from raat_sweep.monitor.jobs import STATES, Job, State


@dataclass(frozen=True)
class Status:
    """A cell's state, and what says so."""

    state: State
    job: Job | None = None
    note: str = ""
    at: float = 0.0
    """For the note's `{age}`."""
    cause: str = ""
    log: str = ""


def status_of(work: CellWork, jobs: Sequence[Job], failures: Failures, now: float) -> Status:
    """What the journal says, unless the cell's folder says that somebody is at work without it."""
    if work.is_done:
        return Status("done", jobs[-1] if jobs else None)
    left = sorted((job for job in jobs if job.state and work.lacks(job)), key=_urgency)
    worst = left[0] if left else None
    is_live = any(job.state not in ("failed", "lost") for job in left)
    if worst and worst.state and worst.state != "failed" and is_live:
        note = _attacking(work) if work.is_trained and worst.state == "running" else ""
        return Status(worst.state, worst, worst.note or note, worst.at)
    failure = failures.of(work.folder)
    over = max([*(job.at for job in left), failure.at if failure else 0.0])
    if not is_live and work.is_active(now) and work.changed_at > over:
        return Status("running", None, "active {age} ago", work.changed_at)
    if worst and worst.state == "lost":
        return Status("lost", worst, worst.note, worst.at)
    if worst or failure:
        return _failed(worst, failure)
    note = "last change {age} ago" if work.progress.epoch else _awaited(work)
    return Status("trained" if work.is_trained else "waiting", None, note, work.changed_at)


def _awaited(work: CellWork) -> str:
    """The note of a cell that others are trained for first."""
    needs = {} if work.is_trained else work.cell.needs
    settings = [
        setting
        for setting, need in needs.items()
        if not needed_folder(work.folder, need).manifest.exists()
    ]
    return f"for its {', '.join(settings)}" if settings else ""


def _urgency(job: Job) -> int:
    return STATES.index(job.state) if job.state else len(STATES)


def _attacking(work: CellWork) -> str:
    """The note of a cell that is being attacked."""
    done = f", {sum(work.shards.values())} of {len(work.shards)} shards done"
    return f"attacking{done if work.shards else ''}"


def _failed(job: Job | None, failure: Failure | None) -> Status:
    """With the cause that the log names, if it is of this attempt: it says more than the journal's.

    The plugin notes its own in the log, too.
    """
    if failure is not None and (job is None or failure.at >= job.sent_at):
        return Status("failed", job, cause=failure.reason, log=failure.log_name)
    return Status("failed", job, cause=job.cause if job else "")


def training_left(work: CellWork, status: Status, now: float) -> float | None:
    """Seconds; of a training that runs."""
    return work.training_left(now) if status.state == "running" else None
