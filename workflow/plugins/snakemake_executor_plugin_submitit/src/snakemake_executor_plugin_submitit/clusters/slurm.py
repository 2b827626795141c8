"""SLURM: submission through submitit, states from squeue and sacct."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, JobPaths

from snakemake_executor_plugin_submitit.clusters.cluster import (
    Cluster,
    Refused,
    State,
    Submission,
    TryLater,
    parts,
)
from snakemake_executor_plugin_submitit.clusters.environment import job_environment
from snakemake_executor_plugin_submitit.clusters.slurm_answers import (
    PASSING,
    TOO_MANY,
    ask,
    history,
    read_states,
    run_command,
)
from snakemake_executor_plugin_submitit.interrupts import uninterrupted
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.task import Task

UNLIMITED_TIMEOUTS = 10**6
"""submitit would count preemptions of short jobs as timeouts; `Task` counts for itself."""
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
        answer = ask("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%F")
        if answer is None:
            raise TryLater("SLURM does not answer")
        base = answer.split()
        if not base:
            past = ask("sacct", "-n", "-X", "-P", "-S", "now-2days", "--name", name, "-o", "JobID")
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
        queue = ask(
            "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
            "--format=%i|%T|%N|%r",
        )  # fmt: skip
        states = read_states(queue or "")
        missing = [job_id for job_id in ids if job_id not in states]
        past = history(missing) if missing else {}
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
    answer = run_command(*command)
    return answer is not None and PASSING.search(answer.stderr) is None


def _complete(folder: Path, ids: Sequence[str]) -> None:
    """Finish what submitit was cut off in: give the pickled jobs the names under which they look.

    submitit writes them under random names, submits, and renames them by the ids it got.
    """
    for path in folder.glob("*.pkl"):
        if re.fullmatch(r"[0-9a-f]{32}\.pkl", path.name):
            task = DelayedSubmission.load(path).function
            assert isinstance(task, Task)
            path.rename(JobPaths(folder, ids[task.index], 0).submitted_pickle)
