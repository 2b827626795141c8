"""Jobs that wait for what never comes, or until somebody releases them."""

from __future__ import annotations

import time

from snakemake_executor_plugin_submitit.clusters.cluster import State
from snakemake_executor_plugin_submitit.clusters.slurm_answers import HELD, NEVER
from snakemake_executor_plugin_submitit.head.run import Run, Running
from snakemake_executor_plugin_submitit.jobs.records import title
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.results.judge import Outcome


def give_up_if_stuck(run: Run, running: Running, state: State) -> Outcome | None:
    """Give up a job that waits for what never comes."""
    if state.name not in ("PENDING", "REQUEUE_HOLD") or state.reason not in NEVER | HELD:
        running.stuck_since = None
        return None
    now = time.monotonic()
    if running.stuck_since is None:
        running.stuck_since = now
        _warn(run, running.attempt, state.reason)
    if state.reason in HELD:
        return None
    if now - running.stuck_since < run.settings.pending_patience:
        return None
    run.clusters.named(running.attempt.cluster).cancel([running.attempt])
    return Outcome(False, f"it can never start: SLURM says {state.reason}")


def _warn(run: Run, attempt: Attempt, reason: str) -> None:
    what = (
        f"scontrol release {attempt.id} lets it go on"
        if reason in HELD
        else f"it is given up in {run.settings.pending_patience} s"
    )
    run.logger.warning(
        f"Job {attempt.id} ({title(attempt.job)}) cannot start: SLURM says {reason}; {what}."
    )
