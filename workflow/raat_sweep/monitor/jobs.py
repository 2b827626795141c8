"""What the submitit plugin's journal says of a sweep's jobs, without asking any cluster."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from snakemake_executor_plugin_submitit.journal import Attempt

State = Literal[
    "failed", "lost", "running", "saving", "requeued", "pending", "trained", "waiting", "done"
]
"""`lost`: a job that ended or fell silent without a result; `trained`: attacks are missing and no
job makes them."""
STATES: tuple[State, ...] = get_args(State)
"""What needs somebody's eyes comes first, what is over last."""

SILENT_SECONDS = 300.0
"""A job whose state file is older is lost; the job writes it four times a minute."""


@dataclass(frozen=True)
class Job:
    """The newest attempt of a job."""

    id: str
    """Empty while the cluster has not accepted it."""
    outputs: tuple[str, ...]
    sent_at: float
    state: State | None
    """None: it says nothing of the cell any more, being cancelled or done."""
    at: float
    """When it was last seen, ended or sent, in seconds since 1970."""
    node: str = ""
    on_gpu: bool = False
    note: str = ""
    """With `{age}` where the time since `at` belongs."""
    cause: str = ""
    """Of a failure."""


def read_jobs(
    journal: Path, cells: Path, now: float
) -> tuple[dict[str, list[Job]], tuple[str, ...]]:
    """Jobs by the cells in whose folders their outputs lie; and what could not be read.

    Args:
        journal: the folder that the journal lies in; without it there are no jobs.
        cells: the folder of all cells.
        now: in seconds since 1970.
    """
    if not journal.is_dir():
        return {}, ()
    try:
        jobs, damaged = _newest_jobs(journal, now)
    except ImportError as error:
        return {}, (f"jobs are not shown: {error}",)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return {}, (f"jobs are not shown: {journal} is damaged ({error!r})",)
    by_cell: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        for name in _cells_of(job.outputs, cells.absolute()):
            by_cell[name].append(job)
    lines = ", ".join(map(str, damaged))
    return by_cell, (f"{journal} is damaged: left out: line {lines}",) if damaged else ()


def _newest_jobs(folder: Path, now: float) -> tuple[list[Job], list[int]]:
    """The newest attempt of every job; and the numbers of damaged lines."""
    # Here, because who runs without the plugin need not have it.
    from snakemake_executor_plugin_submitit.journal import Journal

    journal = Journal.read(folder)
    newest = {a.job.key: a for some in journal.submissions.values() for a in some}
    return [_job(attempt, now) for attempt in newest.values()], journal.damaged


def _cells_of(outputs: Iterable[str], cells: Path) -> set[str]:
    paths = [Path(output).absolute() for output in outputs]
    return {path.relative_to(cells).parts[0] for path in paths if cells in path.parents}


def _job(attempt: Attempt, now: float) -> Job:
    job = Job(
        id=attempt.id or "",
        outputs=attempt.job.outputs,
        sent_at=float(attempt.sent_at),
        state=None,
        at=float(attempt.ended_at or attempt.sent_at),
    )
    if attempt.outcome is None:
        return _uncollected(job, attempt, now)
    return replace(
        job,
        state="failed" if attempt.outcome == "failed" and not attempt.cancelled else None,
        node=str(attempt.spent.get("node") or ""),
        on_gpu=bool(attempt.spent.get("gpus")),
        cause=attempt.cause,
    )


def _uncollected(job: Job, attempt: Attempt, now: float) -> Job:
    """A job whose end no Snakemake has seen: as the state file says that it writes."""
    from snakemake_executor_plugin_submitit.state import TaskState

    own = TaskState.read(attempt.state_file)
    if own is None and not attempt.state_file.exists():
        note = "sent {age} ago" if attempt.id else "being sent"
        return replace(job, state=None if attempt.cancelled else "pending", note=note)
    if own is None or not isinstance(own.seen_at, (int, float)) or not math.isfinite(own.seen_at):
        return replace(job, state="lost", note="state file damaged")
    state, note = _phase(own.phase, now - own.seen_at, attempt.cancelled)
    return replace(
        job,
        state=state,
        at=own.seen_at,
        node=str(own.node),
        on_gpu=bool(own.gpus),
        note=note,
        cause=str(own.cause),
    )


def _phase(phase: str, age: float, cancelled: bool) -> tuple[State | None, str]:
    """State and note of a job that was in a phase when it was last seen, `age` seconds ago."""
    match phase:
        case "failed":
            return "failed", ""
        case "requeued" if not cancelled:
            return "requeued", "for {age}"
        case "stopped" if not cancelled:
            return "lost", "stopped by the cluster {age} ago"
        case "running" | "saving" if age > SILENT_SECONDS:
            return (None, "") if cancelled else ("lost", "silent {age}")
        case "running" | "saving":
            return ("saving" if cancelled or phase == "saving" else "running"), ""
        case "done" if age <= SILENT_SECONDS:
            return "running", "ended {age} ago"  # What it made does not show here yet.
    return None, ""
