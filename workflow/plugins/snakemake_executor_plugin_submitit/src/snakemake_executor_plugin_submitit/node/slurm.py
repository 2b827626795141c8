"""A job's own id, and what SLURM says of it."""

from __future__ import annotations

import os
import subprocess
import time

_ACTIVE = ("RUNNING", "SUSPENDED", "CONFIGURING")


def job_id() -> str:
    """As the cluster knows this job."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array:
        return f"{array}_{index}"
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("SUBMITIT_LOCAL_JOB_ID") or "debug"


def still_running() -> bool:
    """Whether SLURM counts this job as running still: then it is preempted and has to leave.

    A job that exits by itself within the grace time of a preemption would count as failed.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return False
    while True:  # Until SLURM answers, or kills this process.
        answer = subprocess.run(
            ["scontrol", "show", "job", "--oneliner", job_id()], capture_output=True, text=True
        )
        if answer.returncode == 0:
            return any(f"JobState={state}" in answer.stdout for state in _ACTIVE)
        if "Invalid job id" in answer.stderr:
            return False
        time.sleep(1.0)
