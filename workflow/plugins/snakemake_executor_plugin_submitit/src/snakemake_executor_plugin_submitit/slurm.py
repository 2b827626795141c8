"""SLURM: submission through submitit, states from squeue and sacct."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, JobPaths

from snakemake_executor_plugin_submitit.cluster import (
    Cluster,
    Phase,
    Refused,
    State,
    Submission,
    TryLater,
    job_environment,
    parts,
)
from snakemake_executor_plugin_submitit.interrupts import uninterrupted
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.task import Task

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
UNLIMITED_TIMEOUTS = 10**6
"""submitit would count preemptions of short jobs as timeouts; `Task` counts for itself."""
COMMAND_TIMEOUT_SECONDS = 30
IDS_A_COMMAND = 500


@dataclass
class Slurm(Cluster):
    """The SLURM that sbatch on this machine talks to."""

    setup: Sequence[str] = ()
    """Shell lines before the job's command."""
    most_jobs: int = 1000
    has_time_limits: bool = True
    seconds_between_queries: float = 10.0
    name: str = "slurm"
    _states: dict[str, State] = field(default_factory=dict)
    _asked_at: float = float("-inf")

    def __post_init__(self) -> None:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise Refused(
                "submitit-cluster = slurm: there is no sbatch or srun here; on a machine without "
                "SLURM use --submitit-cluster local"
            )

    def submit(self, submission: Submission) -> list[str]:
        """See `Cluster`."""
        if submission.folder.exists():
            found = self._find(submission.name, len(submission.tasks))
            if found is not None:
                _complete(submission.folder, found)
                return found
            shutil.rmtree(submission.folder)
        executor = submitit.SlurmExecutor(submission.folder, UNLIMITED_TIMEOUTS)
        executor.update_parameters(
            job_name=submission.name,
            signal_delay_s=round(submission.tasks[0].grace_seconds),
            array_parallelism=len(submission.tasks),
            wckey=None,
            setup=list(self.setup) or None,
            **submission.request.slurm_parameters(),
        )
        try:
            with job_environment(), uninterrupted():
                jobs = executor.submit_array(submission.tasks)
        except FailedJobError as error:
            words = str(error).strip() or "sbatch said nothing"
            if TOO_MANY.search(words):
                raise TryLater(words, too_many=True) from None
            if PASSING.search(words):
                raise TryLater(words) from None
            raise Refused(words) from None
        return [job.job_id for job in jobs]

    def find(self, attempts: Sequence[Attempt]) -> list[str] | None:
        """See `Cluster`."""
        found = self._find(attempts[0].name, len(attempts))
        if found is not None:
            _complete(attempts[0].folder, found)
        return found

    def _find(self, name: str, count: int) -> list[str] | None:
        """The ids of an accepted submission, by its name; for one that may not have been."""
        answer = _ask("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%F")
        if answer is None:
            raise TryLater("SLURM does not answer")
        base = answer.split()
        if not base:
            past = _ask("sacct", "-n", "-X", "-P", "-S", "now-2days", "--name", name, "-o", "JobID")
            base = [line.split("_")[0] for line in (past or "").split()]
        if not base:
            return None
        return [base[0]] if count == 1 else [f"{base[0]}_{index}" for index in range(count)]

    def states(self, attempts: Iterable[Attempt]) -> Mapping[str, State]:
        """See `Cluster`. SLURM is asked at most every `seconds_between_queries`."""
        now = time.monotonic()
        ids = [attempt.id for attempt in attempts if attempt.id is not None]
        fresh = now - self._asked_at < self.seconds_between_queries
        if not (fresh and all(job_id in self._states for job_id in ids)):
            self._states = self._query(ids)
            self._asked_at = now
        return self._states

    def _query(self, ids: Sequence[str]) -> dict[str, State]:
        queue = _ask(
            "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
            "--format=%i|%T|%N|%r",
        )  # fmt: skip
        states = _read_states(queue or "")
        missing = [job_id for job_id in ids if job_id not in states]
        past = _history(missing) if missing else {}
        for job_id in missing:
            away = State("gone" if queue is not None else "unknown")
            states[job_id] = past.get(job_id, away)
        return {job_id: states[job_id] for job_id in ids}

    def cancel(self, attempts: Sequence[Attempt]) -> str:
        """See `Cluster`. Submissions whose ids are not known are cancelled by name."""
        ids = [attempt.id for attempt in attempts if attempt.id is not None]
        names = {attempt.name for attempt in attempts if attempt.id is None}
        commands = [["scancel", *part] for part in parts(ids, IDS_A_COMMAND)]
        commands += [["scancel", f"--name={name}"] for name in names]
        failed = [command for command in commands if not _cancelled(command)]
        return "".join(f"not cancelled, type: {' '.join(command)}\n" for command in failed)


def _cancelled(command: Sequence[str]) -> bool:
    """Whether SLURM took it; jobs that are over are no reason for complaint."""
    answer = _run(*command)
    return answer is not None and PASSING.search(answer.stderr) is None


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
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


def _ask(*command: str) -> str | None:
    """What a command of SLURM prints; None if it fails."""
    answer = _run(*command)
    return answer.stdout if answer is not None and answer.returncode == 0 else None


def _read_states(text: str) -> dict[str, State]:
    """Lines of id|state|node|reason; sacct's `CANCELLED by 0` is one word here."""
    states = {}
    for line in text.splitlines():
        job_id, word, node, reason = [*line.split("|"), "", "", ""][:4]
        word = word.split()[0] if word.split() else ""
        reason = reason.replace(" ", "_")  # Some are written either way.
        for single in _expand(job_id):
            phase: Phase = "active" if word in ACTIVE else "over"
            states[single] = State(phase, word, node, reason)
    return states


def _expand(job_id: str) -> list[str]:
    """`12_[3-5,7%2]` is four jobs; other ids are one."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", job_id)
    if match is None:
        return [job_id]
    ids = []
    for part in match[2].split(","):
        low, _, high = part.partition("-")
        ids += [f"{match[1]}_{index}" for index in range(int(low), int(high or low) + 1)]
    return ids


def _history(ids: Sequence[str]) -> dict[str, State]:
    """What accounting says of jobs that left the queue; nothing if there is no accounting."""
    jobs = ",".join(dict.fromkeys(job_id.split("_")[0] for job_id in ids))
    answer = _ask(
        "sacct", "-n", "-X", "-P", "-S", "now-30days", "-j", jobs, "-o", "JobID,State,NodeList"
    )  # fmt: skip
    return _read_states(answer or "")


def _complete(folder: Path, ids: Sequence[str]) -> None:
    """Finish what submitit was cut off in: give the pickled jobs the names under which they look.

    submitit writes them under random names, submits, and renames them by the ids it got.
    """
    for path in folder.glob("*.pkl"):
        if re.fullmatch(r"[0-9a-f]{32}\.pkl", path.name):
            task = DelayedSubmission.load(path).function
            assert isinstance(task, Task)
            path.rename(JobPaths(folder, ids[task.index], 0).submitted_pickle)
