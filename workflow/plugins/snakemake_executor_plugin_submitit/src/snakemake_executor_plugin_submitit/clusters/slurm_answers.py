"""SLURM's commands and what they answer: states of jobs, words of refusals and of waiting."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from snakemake_executor_plugin_submitit.clusters.cluster import Phase, State

ACTIVE = frozenset(
    {"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_FED"}
    | {"REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT"}
    | {"STOPPED"}
)
PASSING = re.compile(
    r"unable to contact|timed out|connection (refused|reset|failure)|temporarily|standby"
    r"|zero bytes were transmitted|transport endpoint|communication connection|not responding"
    r"|socket|try again|unexpected message received",
    re.IGNORECASE,
)
"""What sbatch says when the controller is away or busy."""
TOO_MANY = re.compile(r"submit\w*limit|maxsubmit|job submit limit|max\w*jobs?limit", re.IGNORECASE)
"""What sbatch says when a user has as many jobs in the queue as are allowed."""
NEVER = frozenset(
    {"PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "BadConstraints"}
    | {"AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS", "MaxMemPerLimit"}
    | {"AssocMaxCpuPerJobLimit", "AssocMaxWallDurationPerJobLimit", "AssocMaxGRESPerJob"}
    | {"QOSMaxCpuPerJobLimit", "QOSMaxWallDurationPerJobLimit", "QOSMaxMemoryPerJob"}
    | {"QOSMaxGRESPerJob", "DependencyNeverSatisfied"}
)
"""Reasons for which a pending job never starts, unless somebody changes the job or the cluster."""
HELD = frozenset(
    {"JobHeldAdmin", "JobHeldUser", "JobHoldMaxRequeue", "launch_failed_requeued_held"}
)
"""Reasons for which a pending job waits until somebody releases it."""
COMMAND_TIMEOUT_SECONDS = 30


def run_command(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command of SLURM; None if it cannot be started or does not come back."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the head process alone.
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def ask(*command: str) -> str | None:
    """What a command of SLURM prints; None if it fails."""
    answer = run_command(*command)
    return answer.stdout if answer is not None and answer.returncode == 0 else None


def history(ids: Sequence[str]) -> dict[str, State]:
    """What accounting says of jobs that left the queue; nothing if there is no accounting."""
    jobs = ",".join(dict.fromkeys(job_id.split("_")[0] for job_id in ids))
    answer = ask(
        "sacct", "-n", "-X", "-P", "-S", "now-30days", "-j", jobs, "-o", "JobID,State,NodeList"
    )  # fmt: skip
    return read_states(answer or "")


def read_states(text: str) -> dict[str, State]:
    """Lines of id|state|node|reason; sacct's `CANCELLED by 0` is one word here."""
    states = {}
    for line in text.splitlines():
        job_id, word, node, reason = [*line.split("|"), "", "", ""][:4]
        word = word.split()[0] if word.split() else ""
        reason = reason.replace(" ", "_")  # Some are written either way.
        for single in expand(job_id):
            phase: Phase = "active" if word in ACTIVE else "over"
            states[single] = State(phase, word, node, reason)
    return states


def expand(job_id: str) -> list[str]:
    """`12_[3-5,7%2]` is four jobs; other ids are one."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", job_id)
    if match is None:
        return [job_id]
    ids = []
    for part in match[2].split(","):
        low, _, high = part.partition("-")
        ids += [f"{match[1]}_{index}" for index in range(int(low), int(high or low) + 1)]
    return ids
