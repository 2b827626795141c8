"""What every cluster can do, and when a job is over."""

from __future__ import annotations

import contextlib
import os
import re
import site
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any, Literal, TypeAlias, TypeVar

from submitit.core.utils import JobPaths, environment_variables
from submitit.helpers import clean_env

from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.request import Request
from snakemake_executor_plugin_submitit.state import TaskState
from snakemake_executor_plugin_submitit.task import Task

PATIENCE_SECONDS = {"over": 10.0, "gone": 30.0}
"""How long a result may take to show up after the cluster says that a job is over, or does not
know it any more, before it counts as failed."""


class TryLater(Exception):
    """A submission was not accepted for a reason that passes."""

    def __init__(self, reason: str, *, too_many: bool = False) -> None:
        super().__init__(reason)
        self.too_many = too_many
        """Fewer jobs might be accepted."""


class Refused(Exception):
    """A submission will never be accepted; in the cluster's own words."""


@dataclass
class Submission:
    """Jobs with equal requests that go out together."""

    id: str
    name: str
    """Unique, and how the cluster knows it: an accepted submission can be found again by it."""
    folder: Path
    request: Request
    tasks: list[Task]


T = TypeVar("T")


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Pieces of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


Phase: TypeAlias = Literal["active", "over", "gone", "unknown"]


@dataclass(frozen=True)
class State:
    """What the cluster says of a job."""

    phase: Phase
    """`gone`: the cluster answers and does not know it; `unknown`: the cluster does not answer."""
    name: str = ""
    """The cluster's own word."""
    node: str = ""
    reason: str = ""
    certain: bool = False
    """Seen with own eyes: nothing is to be waited for."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    done: bool
    cause: str = ""


class Cluster(ABC):
    """SLURM, or this machine."""

    name: str
    most_jobs: int = 1
    """Of one submission."""
    has_time_limits: bool = False

    def has_room(self, request: Request) -> bool:
        """Whether to submit such a job now: there is room for it, or there never will be."""
        return True

    def release_ended(self) -> None:
        """Take back what jobs held that are over."""

    def submitted(self, attempt: Attempt) -> None:
        """Be told of a job that is watched from now on."""

    @abstractmethod
    def submit(self, submission: Submission) -> list[str]:
        """Send it, or find it sent already; returns the ids in the order of its jobs.

        Raises:
            TryLater: not accepted now.
            Refused: never to be accepted.
        """

    @abstractmethod
    def find(self, attempts: Sequence[Attempt]) -> list[str] | None:
        """The ids of a submission of which only the intention is known; None if it is not there.

        Raises:
            TryLater: the cluster does not answer.
        """

    @abstractmethod
    def states(self, attempts: Iterable[Attempt]) -> Mapping[str, State]:
        """What the cluster says now, by id."""

    @abstractmethod
    def cancel(self, attempts: Sequence[Attempt]) -> str:
        """Tell jobs to stop; returns what the user has to know, or nothing."""


@dataclass
class Judge:
    """Decides from result files and the cluster's answers whether attempts are over.

    Success is a success pickle and nothing else. An error pickle counts only when the cluster says
    that the job is over or gone: a job that is requeued may leave one behind.
    """

    _since: dict[tuple[str, int, str], float] = field(default_factory=dict)

    def outcome(self, attempt: Attempt, state: State) -> Outcome | None:
        """How the attempt ended; None if it has not, or if it cannot be known yet."""
        result = read_result(attempt)
        if result is not None and result[0] == "success":
            return Outcome(done=True)
        if state.phase in ("active", "unknown"):
            self._forget(attempt)
            return None
        expected = attempt.cancelled and state.phase == "over"
        waiting = result is None and not (state.certain or expected)
        if waiting and self._lasts(attempt, state.phase) < PATIENCE_SECONDS[state.phase]:
            return None
        return Outcome(done=False, cause=cause_of(attempt, state, result))

    def _lasts(self, attempt: Attempt, phase: str) -> float:
        key = attempt.submission, attempt.index, phase
        return time.monotonic() - self._since.setdefault(key, time.monotonic())

    def _forget(self, attempt: Attempt) -> None:
        for phase in ("over", "gone"):
            self._since.pop((attempt.submission, attempt.index, phase), None)


@contextlib.contextmanager
def job_environment() -> Iterator[None]:
    """Environment variables as jobs are to inherit them.

    Not what belongs to a job that this process itself may run in, and so that this package is
    found where it is not installed but on the path.
    """
    ours = str(Path(__file__).resolve().parents[1])
    passed = {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or name.startswith("SBATCH_")  # The user's, for sbatch.
    }
    if ours not in site.getsitepackages():
        path = os.environ.get("PYTHONPATH")
        passed["PYTHONPATH"] = os.pathsep.join([ours, *filter(None, [path])])
    with clean_env(), environment_variables(**passed):
        yield


def refresh(folders: Iterable[Path]) -> None:
    """Make a network file system look again for the results in submissions' folders."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.chmod(folder.stat().st_mode)


def read_result(attempt: Attempt) -> tuple[str, object] | None:
    """What submitit left: ("success", None) or ("error", traceback); None if nothing yet."""
    if attempt.id is None:
        return None
    paths = JobPaths(attempt.folder, attempt.id, 0)
    if not paths.result_pickle.exists():
        return None
    try:
        with paths.result_pickle.open("rb") as file:
            outcome, result = _Plain(file).load()
    except (EOFError, OSError, ValueError, TypeError, UnpicklingError):
        return None
    return outcome, result


class _Plain(Unpickler):
    """Reads text and nothing: a pickle that asks for anything else, to run it perhaps, is none."""

    def find_class(self, module: str, name: str) -> Any:
        raise UnpicklingError(f"{module}.{name} in the result of a job")


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


def printed_by_cluster(attempt: Attempt) -> str:
    """What the cluster itself, and submitit, wrote into files of their own."""
    logs = sorted(attempt.folder.glob(f"{attempt.id}_0_log.*"))
    return "\n".join(map(end_of, logs))


def end_of(log: Path) -> str:
    """The last part of a log, which may be huge; nothing if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


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
