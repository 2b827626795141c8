"""What an outcome means for this run: whether it counts, or is of the past."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core.utils import JobPaths

from snakemake_executor_plugin_submitit.head.run import Run, Running
from snakemake_executor_plugin_submitit.jobs.records import members
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.results.judge import Outcome


def collected(attempt: Attempt) -> Outcome | None:
    """The outcome of an attempt that was collected for another job of its group."""
    return None if attempt.outcome is None else Outcome(attempt.outcome == "done", attempt.cause)


def missing_of(outputs: Sequence[str]) -> str | None:
    """The first output that is not there."""
    return next((path for path in outputs if not Path(path).exists()), None)


def is_old(run: Run, running: Running, outcome: Outcome) -> bool:
    """Whether an outcome is of the past: the job has to run again all the same.

    What ended before this process looked counts only if it is what this process wants: the
    outputs were not there when it began, and are now.
    """
    if running.replace:
        return True
    if not running.attached:
        return False
    if not outcome.done:
        return not running.was_active
    if missing_of(running.ready.record.outputs):
        return True
    recent = running.was_active or _ended_now(run, running.attempt)
    return not (recent or _were_missing(run, running.ready.job))


def _ended_now(run: Run, attempt: Attempt) -> bool:
    """Whether its result is younger than this process, by the clock of one file system."""
    with contextlib.suppress(OSError):
        result = JobPaths(attempt.folder, attempt.id, 0).result_pickle
        return result.stat().st_mtime > (run.folder / "lock").stat().st_mtime
    return False


def _were_missing(run: Run, job: Any) -> bool:
    return any(run.workflow.dag.reason(single).missing_output for single in members(job))
