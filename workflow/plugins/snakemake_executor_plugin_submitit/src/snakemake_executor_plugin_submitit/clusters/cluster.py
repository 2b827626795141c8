"""What every cluster can do, and what it says of submissions and jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from snakemake_executor_plugin_submitit.jobs.request import Request
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.task import Task


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
