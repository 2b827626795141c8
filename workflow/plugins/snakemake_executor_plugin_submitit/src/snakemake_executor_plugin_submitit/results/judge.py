"""When an attempt is over, and how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.clusters.cluster import State
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.results.causes import cause_of
from snakemake_executor_plugin_submitit.results.files import read_result

PATIENCE_SECONDS = {"over": 10.0, "gone": 30.0}
"""How long a result may take to show up after the cluster says that a job is over, or does not
know it any more, before it counts as failed."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    done: bool
    cause: str = ""


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
