"""Why an attempt failed, in one line: what the job says of itself, or what the cluster says."""

from __future__ import annotations

import re

from snakemake_executor_plugin_submitit.clusters.cluster import State
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.results.logs import printed_by_cluster
from snakemake_executor_plugin_submitit.state import TaskState

_OUT_OF_MEMORY = re.compile(r"exceeded (job )?memory limit|oom.?kill", re.IGNORECASE)
"""SLURM calls such a job only FAILED where it does not use control groups."""
_CAUSES = {
    "OUT_OF_MEMORY": "out of memory on {node}: raise mem_mb",
    "TIMEOUT": "it did not save and leave before its time limit on {node}: raise runtime",
    "CANCELLED": "it was cancelled",
    "NODE_FAIL": "its node {node} failed",
    "BOOT_FAIL": "its node {node} did not start",
    "DEADLINE": "it passed its deadline",
    "PREEMPTED": "it was preempted on {node} and not requeued",
}


def cause_of(attempt: Attempt, state: State, result: tuple[str, object] | None) -> str:
    """Why an attempt failed, in one line: what the job said, or else what the cluster says."""
    own = TaskState.read(attempt.state_file)
    word = state.name.upper()
    if _OUT_OF_MEMORY.search(printed_by_cluster(attempt)):
        word = "OUT_OF_MEMORY"
    if word in _CAUSES:
        return _CAUSES[word].format(node=state.node or (own.node if own else "?"))
    if own is not None and own.cause:
        return own.cause
    if result is not None:
        return str(result[1]).strip().splitlines()[-1]
    if own is None:
        return f"it ended before it began ({state.name or 'the cluster does not know it'})"
    if state.phase == "gone":
        return f"it disappeared from {own.node}: the cluster does not know it any more"
    return f"it ended as {state.name} without a result"
