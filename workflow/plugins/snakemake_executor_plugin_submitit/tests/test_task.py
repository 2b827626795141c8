"""A job's command, as it is run on a node."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.state import TaskState
from snakemake_executor_plugin_submitit.task import JobFailed, Task


def task(folder: Path, command: str, **options: object) -> Task:
    return Task(command, str(folder), 0, folder / "0.json", folder / "job.log", **options)  # type: ignore[arg-type]


def test_a_task_keeps_its_output_and_says_how_it_ended(tmp_path: Path) -> None:
    task(tmp_path, "echo out; echo err >&2; touch made", outputs=("made",))()
    log = (tmp_path / "job.log").read_text()
    assert "out\nerr\n" in log
    state = TaskState.read(tmp_path / "0.json")
    assert state is not None
    assert (state.phase, state.slots) == ("done", 1)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exit 3", "its command exited with 3"),
        ("kill -9 $$", r"its command was killed \(SIGKILL\)"),
        ("kill -11 $$", "its command was ended by SIGSEGV"),
        ("true", "output made is not there on .* after its command ended"),
    ],
)
def test_a_task_that_fails_says_why(tmp_path: Path, command: str, why: str) -> None:
    with pytest.raises(JobFailed, match=why):
        task(tmp_path, command, outputs=("made",), latency_seconds=0.1)()
    state = TaskState.read(tmp_path / "0.json")
    assert state is not None
    assert state.phase == "failed"


def test_a_missing_input_is_waited_for_and_named(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="input data and 1 more is not there on"):
        task(tmp_path, "touch ran", inputs=("data", "more"), latency_seconds=0.1)()
    assert not (tmp_path / "ran").exists()


def test_earlier_starts_count(tmp_path: Path) -> None:
    for _ in range(3):
        task(tmp_path, "sleep 0.1")()
    state = TaskState.read(tmp_path / "0.json")
    assert state is not None
    assert state.slots == 3
    assert state.seconds > 0.3


def test_a_commands_shell_ignores_the_signals_and_its_program_need_not(tmp_path: Path) -> None:
    get = "signal.getsignal(signal.{}) is signal.SIG_IGN"
    program = f"import signal; print({get.format('SIGUSR2')}, {get.format('SIGTERM')})"
    task(tmp_path, f'{sys.executable} -c "{program}"')()
    assert "True True" in (tmp_path / "job.log").read_text()


def test_queued_jobs_find_their_classes() -> None:
    """Their pickles name them, over versions of this package."""
    modules = Task.__module__, TaskState.__module__
    assert modules == (
        "snakemake_executor_plugin_submitit.task",
        "snakemake_executor_plugin_submitit.state",
    )
