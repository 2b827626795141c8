"""When a job is over, and why it failed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from samples import record
from submitit.core.utils import JobPaths, cloudpickle_dump

from snakemake_executor_plugin_submitit.clusters.cluster import State
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.results.causes import cause_of
from snakemake_executor_plugin_submitit.results.files import read_result
from snakemake_executor_plugin_submitit.results.judge import Judge, Outcome
from snakemake_executor_plugin_submitit.state import TaskState


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    (tmp_path / "s1").mkdir()
    return Attempt("s1", 0, "slurm", "here", "one-s1", tmp_path / "s1", 0.0, record(), id="7_0")


def leave(attempt: Attempt, *result: object) -> None:
    cloudpickle_dump(result, JobPaths(attempt.folder, attempt.id, 0).result_pickle)


ACTIVE, OVER, GONE, AWAY = (
    State("active", "RUNNING", "n1"),
    State("over", "FAILED", "n1"),
    State("gone"),
    State("unknown"),
)


@pytest.mark.parametrize("state", [ACTIVE, OVER, GONE, AWAY])
def test_a_success_pickle_is_success(attempt: Attempt, state: State) -> None:
    leave(attempt, "success", None)
    assert Judge().outcome(attempt, state) == Outcome(done=True)


def test_an_error_pickle_counts_when_the_job_is_over(attempt: Attempt) -> None:
    leave(attempt, "error", "Traceback\nValueError: no")
    judge = Judge()
    assert judge.outcome(attempt, ACTIVE) is None
    assert judge.outcome(attempt, AWAY) is None
    for state in (OVER, GONE):
        assert judge.outcome(attempt, state) == Outcome(False, "ValueError: no")


def test_over_without_a_result_is_waited_for_and_then_failed(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    judge = Judge()
    for state, patience in ((OVER, 10), (GONE, 30)):
        assert judge.outcome(attempt, state) is None
        now += patience - 1
        assert judge.outcome(attempt, state) is None
        assert judge.outcome(attempt, ACTIVE) is None  # It was requeued: counted anew.
        now += 2
        assert judge.outcome(attempt, state) is None
        now += patience
        assert judge.outcome(attempt, state) is not None
        assert judge.outcome(attempt, ACTIVE) is None


def test_silence_of_slurm_is_neither_success_nor_failure(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    judge = Judge()
    for _ in range(100):
        assert judge.outcome(attempt, AWAY) is None
        now += 60.0


def test_a_damaged_result_is_none(attempt: Attempt) -> None:
    JobPaths(attempt.folder, attempt.id, 0).result_pickle.write_bytes(b"\x80\x04cut")
    assert read_result(attempt) is None


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_result_that_would_run_something_is_none(attempt: Attempt, tmp_path: Path) -> None:
    leave(attempt, "success", Bomb(tmp_path / "went-off"))
    assert read_result(attempt) is None
    assert not (tmp_path / "went-off").exists()


def test_out_of_memory_without_control_groups_is_told_from_slurms_message(attempt: Attempt) -> None:
    (attempt.folder / "7_0_0_log.err").write_text(
        "slurmstepd-n1: error: StepId=4.0 exceeded memory limit (112 > 104), being killed\n"
    )
    TaskState(node="n1").write(attempt.state_file)
    assert "out of memory on n1" in cause_of(attempt, OVER, None)
