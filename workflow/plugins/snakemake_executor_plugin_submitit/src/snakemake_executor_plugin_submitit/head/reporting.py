"""Failures, as the user reads them: by Snakemake, and in the rule's log."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakemake_executor_plugin_submitit.clusters.cluster import State
from snakemake_executor_plugin_submitit.head.run import Run
from snakemake_executor_plugin_submitit.jobs.records import title
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.results.logs import end_of, last_lines, printed_by_cluster
from snakemake_executor_plugin_submitit.state import TaskState


def report_unsent(run: Run, job: Any, message: str) -> None:
    """Report a job that cannot be submitted."""
    _note_in_rule_log(job, message)
    run.executor.report_job_error(SubmittedJobInfo(job), msg=message)


def report_failure(
    run: Run, info: SubmittedJobInfo, attempt: Attempt, state: State, cause: str
) -> None:
    """Report a job that failed: which, where, why, and how its log ends."""
    own = TaskState.read(attempt.state_file)
    node = state.node or (own.node if own else "") or attempt.host
    summary = f"job {attempt.id} on {node}: {cause}"
    _note_in_rule_log(info.job, summary)
    tail = last_lines(end_of(Path(attempt.job.log)) or printed_by_cluster(attempt))
    lines = "".join(f"\n        {line}" for line in tail)
    message = f"{title(attempt.job)} failed: {summary}\n    job log: {attempt.job.log}"
    run.executor.report_job_error(info, msg=message + (f", which ends:{lines}" if tail else ""))


def _note_in_rule_log(job: Any, message: str) -> None:
    """What only the cluster knows stands in the rule's log too, as its last line."""
    for path in list(map(str, job.log))[:1]:
        with contextlib.suppress(OSError):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with Path(path).open("a", encoding="utf-8") as log:
                log.write(f"error: {message}\n")
