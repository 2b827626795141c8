"""Jobs on this machine: in the background that outlive the head process, each with its own GPUs."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from submitit.local.local import LocalJob

from snakemake_executor_plugin_submitit.clusters.cluster import (
    Cluster,
    Refused,
    State,
    Submission,
    TryLater,
)
from snakemake_executor_plugin_submitit.clusters.detached import DetachedExecutor
from snakemake_executor_plugin_submitit.clusters.environment import job_environment
from snakemake_executor_plugin_submitit.clusters.pool import Pool, gpu_ids
from snakemake_executor_plugin_submitit.clusters.processes import alive, kill_orphans, send
from snakemake_executor_plugin_submitit.jobs.request import Request
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.state import HEARTBEAT_SECONDS, TaskState

STOP_SECONDS = 8.0
"""How long cancelled jobs get to save."""
START_SECONDS = 10.0
"""How long a job takes at most until it says that it runs."""
SILENT_SECONDS = 8 * HEARTBEAT_SECONDS
"""After how long a silent job of another machine counts as gone."""


@dataclass
class Local(Cluster):
    """Processes on this machine; they outlive the head process."""

    pool: Pool
    name: str = "local"
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    """What holds GPUs and cores, by submission."""
    _started: dict[str, str] = field(default_factory=dict)
    """Ids by submission."""
    _children: list[LocalJob[Any]] = field(default_factory=list)
    """submitit's handles of jobs of this very process: they have to be waited for."""

    def adopt(self, attempts: Iterable[Attempt]) -> None:
        """Count the GPUs and cores of jobs that an earlier head process started here."""
        for attempt in attempts:
            if attempt.host == platform.node() and alive(attempt):
                state = _state_of_starting(attempt)
                gpus = tuple(gpu_ids(state.gpus)) if state else ()
                self.pool.take(attempt.submission, gpus, attempt.job.threads)
                self._attempts[attempt.submission] = attempt

    def has_room(self, request: Request) -> bool:
        """See `Cluster`."""
        try:
            return self.pool.free(request.gpus, request.threads) is not None
        except Refused:
            return True

    def submit(self, submission: Submission) -> list[str]:
        """See `Cluster`. Always one job."""
        (task,) = submission.tasks
        if submission.id in self._started:  # It could not be written down the first time.
            return [self._started[submission.id]]
        request = submission.request
        gpus = self.pool.free(request.gpus, request.threads)
        if gpus is None:
            raise TryLater("all GPUs or cores are busy")
        self.pool.take(submission.id, gpus, request.threads)
        with job_environment():
            job = DetachedExecutor(submission.folder, gpus).submit(task)
        assert isinstance(job, LocalJob)
        self._children.append(job)
        self._started[submission.id] = job.job_id
        return [job.job_id]

    def submitted(self, attempt: Attempt) -> None:
        """See `Cluster`: its GPUs and cores are taken back when it ends."""
        self._attempts[attempt.submission] = attempt

    def find(self, attempts: Sequence[Attempt]) -> list[str] | None:
        """See `Cluster`."""
        state = _state_of_starting(attempts[0])
        if state is None or not state.id:
            return None
        return [state.id]

    def states(self, attempts: Iterable[Attempt]) -> Mapping[str, State]:
        """See `Cluster`."""
        self._children = [job for job in self._children if not job.done()]
        return {attempt.id: _state(attempt) for attempt in attempts if attempt.id is not None}

    def cancel(self, attempts: Sequence[Attempt]) -> str:
        """See `Cluster`. Returns when the processes are gone."""
        here = [attempt for attempt in attempts if attempt.host == platform.node()]
        deadline = time.monotonic() + STOP_SECONDS
        while (left := [a for a in here if alive(a)]) and time.monotonic() < deadline:
            for attempt in left:
                send(attempt, signal.SIGTERM)
            time.sleep(0.5)
            self._children = [job for job in self._children if not job.done()]
        for attempt in left:
            send(attempt, signal.SIGKILL)
        for attempt in here:
            kill_orphans(attempt)
        away = [attempt for attempt in attempts if attempt not in here]
        return "".join(f"not cancelled: job {a.id} is on {a.host}\n" for a in away)

    def release_ended(self) -> None:
        """See `Cluster`."""
        for submission, attempt in list(self._attempts.items()):
            if _state(attempt).phase != "active":
                self.pool.release(submission)
                del self._attempts[submission]


def _state(attempt: Attempt) -> State:
    if attempt.host != platform.node():
        own = TaskState.read(attempt.state_file)
        fresh = own is not None and time.time() - own.seen_at < SILENT_SECONDS
        return State("active" if fresh else "gone", node=attempt.host)
    if alive(attempt):
        return State("active")
    kill_orphans(attempt)
    return State("over", "ENDED", certain=True)


def _state_of_starting(attempt: Attempt) -> TaskState | None:
    """The state that a job writes when it starts, which takes a few seconds."""
    deadline = attempt.sent_at + START_SECONDS
    while (state := TaskState.read(attempt.state_file)) is None and time.time() < deadline:
        time.sleep(0.2)
    return state
