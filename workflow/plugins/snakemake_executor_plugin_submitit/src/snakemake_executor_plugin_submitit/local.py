"""Jobs on this machine: in the background that outlive the head process, each with its own GPUs."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import submitit
from submitit.local.local import LocalJob

from snakemake_executor_plugin_submitit.cluster import (
    Cluster,
    Refused,
    State,
    Submission,
    TryLater,
    job_environment,
)
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.request import Request
from snakemake_executor_plugin_submitit.state import HEARTBEAT_SECONDS, TaskState

UNLIMITED_MINUTES = 60 * 24 * 365 * 10
STOP_SECONDS = 8.0
"""How long cancelled jobs get to save."""
START_SECONDS = 10.0
"""How long a job takes at most until it says that it runs."""
SILENT_SECONDS = 8 * HEARTBEAT_SECONDS
"""After how long a silent job of another machine counts as gone."""


class DetachedExecutor(submitit.LocalExecutor):
    """submitit's, with jobs in sessions of their own: no Ctrl-C or hang-up of the head's terminal
    reaches them, and GPUs are named as the driver names them.
    """

    def __init__(self, folder: Path, gpus: Sequence[str]) -> None:
        super().__init__(folder, max_num_timeout=0)
        self.gpus = gpus

    def _submit_command(self, command: str) -> LocalJob[Any]:
        environment = {
            **os.environ,
            "SUBMITIT_LOCAL_NTASKS": "1",
            "SUBMITIT_LOCAL_COMMAND": command,
            "SUBMITIT_LOCAL_TIMEOUT_S": str(60 * UNLIMITED_MINUTES),
            "SUBMITIT_LOCAL_SIGNAL_DELAY_S": "0",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_STDERR_TO_STDOUT": "",
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_WITH_SHELL": "",
            "CUDA_VISIBLE_DEVICES": ",".join(self.gpus),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "submitit.local._local", str(self.folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_take_interrupts,
        )
        return LocalJob(folder=self.folder, job_id=str(process.pid), process=process)


def _take_interrupts() -> None:
    """The head process puts them off while it submits; its jobs need not."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGQUIT})


@dataclass
class Pool:
    """The GPUs and cores of this machine, and which job holds which."""

    gpus: Sequence[str]
    cores: int
    jobs_per_gpu: int = 1
    held: dict[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)
    """By submission: GPU ids and number of cores."""

    def free(self, gpus: int, cores: int) -> tuple[str, ...] | None:
        """GPU ids for a job, the least busy ones; None if there is no room for it now.

        On a machine without any GPU, jobs that ask for one run on the CPU.

        Raises:
            Refused: there never will be enough.
        """
        if gpus > len(self.gpus) > 0:
            raise Refused(f"gpu = {gpus}: this machine has {len(self.gpus)}")
        wanted = min(gpus, len(self.gpus))
        jobs = Counter(gpu for ids, _ in self.held.values() for gpu in ids)
        with_room = [gpu for gpu in self.gpus if jobs[gpu] < self.jobs_per_gpu]
        free = sorted(with_room, key=lambda gpu: jobs[gpu])[:wanted]
        used = sum(count for _, count in self.held.values())
        enough = len(free) == wanted and used + min(cores, self.cores) <= self.cores
        return tuple(free) if enough else None

    def take(self, submission: str, gpus: tuple[str, ...], cores: int) -> None:
        """Count what a job holds."""
        self.held[submission] = gpus, min(cores, self.cores)

    def release(self, submission: str) -> None:
        """Give back what a job held."""
        self.held.pop(submission, None)


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
            if attempt.host == platform.node() and _alive(attempt):
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
        while (left := [a for a in here if _alive(a)]) and time.monotonic() < deadline:
            for attempt in left:
                _send(attempt, signal.SIGTERM)
            time.sleep(0.5)
            self._children = [job for job in self._children if not job.done()]
        for attempt in left:
            _send(attempt, signal.SIGKILL)
        for attempt in here:
            _kill_orphans(attempt)
        away = [attempt for attempt in attempts if attempt not in here]
        return "".join(f"not cancelled: job {a.id} is on {a.host}\n" for a in away)

    def release_ended(self) -> None:
        """See `Cluster`."""
        for submission, attempt in list(self._attempts.items()):
            if _state(attempt).phase != "active":
                self.pool.release(submission)
                del self._attempts[submission]


def gpu_ids(text: str) -> list[str]:
    """Names of GPUs in a list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def gpus_of_this_machine() -> list[str]:
    """GPUs by the names that CUDA_VISIBLE_DEVICES takes; those that it hides do not count."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in gpu_ids(visible) if name != "-1"]
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))] if answer.returncode == 0 else []


def _state(attempt: Attempt) -> State:
    if attempt.host != platform.node():
        own = TaskState.read(attempt.state_file)
        fresh = own is not None and time.time() - own.seen_at < SILENT_SECONDS
        return State("active" if fresh else "gone", node=attempt.host)
    if _alive(attempt):
        return State("active")
    _kill_orphans(attempt)
    return State("over", "ENDED", certain=True)


def _alive(attempt: Attempt) -> bool:
    """Whether submitit's controller or the task itself runs; pids alone may be another's by now."""
    own = TaskState.read(attempt.state_file)
    pids = [int(attempt.id)] if attempt.id is not None else []
    pids += [own.pid] if own is not None else []
    return any(str(attempt.folder) in _command_line(pid) for pid in pids)


def _command_line(pid: int) -> list[str]:
    try:
        return list(psutil.Process(pid).cmdline())
    except (psutil.Error, ValueError):
        return []


def _state_of_starting(attempt: Attempt) -> TaskState | None:
    """The state that a job writes when it starts, which takes a few seconds."""
    deadline = attempt.sent_at + START_SECONDS
    while (state := TaskState.read(attempt.state_file)) is None and time.time() < deadline:
        time.sleep(0.2)
    return state


def _send(attempt: Attempt, number: int) -> None:
    own = TaskState.read(attempt.state_file)
    for pid in {int(attempt.id or 0), own.pid if own else 0}:
        if pid and str(attempt.folder) in _command_line(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _kill_orphans(attempt: Attempt) -> None:
    """End what a job left running when it was killed itself."""
    own = TaskState.read(attempt.state_file)
    if own is None or not own.command_pid:
        return
    with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
        for process in _group(own.command_pid):
            if process.environ().get("SUBMITIT_FOLDER") == str(attempt.folder):
                process.kill()


def _group(number: int) -> list[psutil.Process]:
    """The processes of a process group."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == number:
                members.append(process)
    return members
