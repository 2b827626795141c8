"""The parts without Snakemake: the journal, requests, SLURM's answers, when a job is over."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submitit.core.utils import JobPaths, cloudpickle_dump
from toy import SOURCE

from snakemake_executor_plugin_submitit.clusters import slurm_answers
from snakemake_executor_plugin_submitit.clusters.cluster import Refused, State
from snakemake_executor_plugin_submitit.clusters.pool import Pool, gpus_of_this_machine
from snakemake_executor_plugin_submitit.jobs.records import _plain
from snakemake_executor_plugin_submitit.jobs.request import BadRequest, request_of
from snakemake_executor_plugin_submitit.journal import Attempt, JobRecord, Journal, JournalInUse
from snakemake_executor_plugin_submitit.results.causes import cause_of
from snakemake_executor_plugin_submitit.results.files import read_result
from snakemake_executor_plugin_submitit.results.judge import Judge, Outcome
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.state import TaskState
from snakemake_executor_plugin_submitit.task import JobFailed, Task


def record(name: str = "a") -> JobRecord:
    return JobRecord(f"key of {name}", "one", name, (f"{name}.txt",), f"{name}.log", "f", 2)


# The journal


def test_a_journal_is_what_was_written(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record("a"), record("b")])
    journal.sent("s1", ["7_0", "7_1"])
    journal.sending("s2", "slurm", "one-s2", [record("c")])
    journal.dropped("s2")
    first, second = journal.submissions["s1"]
    journal.cancelled([first])
    journal.ended(second, "done", "", {"seconds": 3})
    read = Journal.read(tmp_path)
    assert read.submissions == journal.submissions
    assert read.live == journal.live == {"key of a": first}
    assert first.cancelled
    assert second.spent == {"seconds": 3}


def test_a_torn_line_is_skipped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record()])
    journal.close()
    with journal.path.open("a") as file:
        file.write('{"event": "sent", "subm')
    again = Journal.open(tmp_path)
    assert again.live["key of a"].id is None
    again.sent("s1", ["8"])
    assert Journal.read(tmp_path).live["key of a"].id == "8"


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_costs_a_line_and_no_more(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record("a"), record("b")])
    journal.sent("s1", ["7_0", "7_1"])
    journal.sending("s2", "slurm", "one-s2", [record("c")])
    journal.close()
    content = journal.path.read_bytes()
    for position in range(0, len(content), 7):
        flip(journal.path, position, position % 8)
        read = Journal.read(tmp_path)
        assert read.damaged or read.submissions == journal.submissions
        for name, attempts in read.submissions.items():
            expected = journal.submissions[name]
            assert [a.job for a in attempts] == [a.job for a in expected]
            assert {a.id for a in attempts} <= {None, *(a.id for a in expected)}
        journal.path.write_bytes(content)


def test_lines_of_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record()])
    lines = journal.path.read_text().splitlines()
    plain = [{k: v for k, v in json.loads(line).items() if k != "crc"} for line in lines]
    journal.path.write_text("".join(json.dumps(line) + "\n" for line in plain))
    journal.sent("s1", ["7"])
    read = Journal.read(tmp_path)
    assert read.live["key of a"].id == "7"
    assert read.damaged == []


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record()])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", raise_full)
        with pytest.raises(OSError, match="No space"):
            journal.sent("s1", ["7"])
    journal.sent("s1", ["8"])
    assert Journal.read(tmp_path).live["key of a"].id == "8"


def raise_full(file: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_newest_attempt_of_a_job_is_the_live_one(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    (old,) = journal.sending("s1", "slurm", "one-s1", [record()])
    (new,) = journal.sending("s2", "slurm", "one-s2", [record()])
    journal.ended(old, "failed", "why", {})
    assert journal.live == {"key of a": new}


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    with pytest.raises(JournalInUse, match="process"):
        Journal.open(tmp_path)
    journal.close()
    Journal.open(tmp_path)


@pytest.mark.parametrize("signs", [True, False])
def test_a_writer_that_has_not_signed_yet(signs: bool, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if signs:
            threading.Timer(
                0.2, lambda: (tmp_path / "lock").write_text("process 7 on here")
            ).start()
        said = "process 7 on here" if signs else "a process that cannot write"
        with pytest.raises(JournalInUse, match=said):
            Journal.open(tmp_path)


def test_files_of_a_submission_go_when_all_of_it_went_well(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    first, second = journal.sending("s1", "slurm", "one-s1", [record("a"), record("b")])
    first.folder.mkdir()
    journal.ended(first, "done", "", {})
    assert first.folder.exists()
    journal.ended(second, "done", "", {})
    assert not first.folder.exists()


def test_a_lost_line_does_not_lock_everything(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    (attempt,) = journal.sending("s1", "slurm", "one-s1", [record()])
    journal.sent("s1", ["7"])
    journal.cancelled([attempt])
    journal.dropped("s1")
    journal.cancelled([attempt])
    journal.path.write_text("".join(journal.path.read_text().splitlines(keepends=True)[1:]))
    assert Journal.read(tmp_path).live == {}


def test_params_are_the_same_in_every_process() -> None:
    class Thing:
        pass

    assert _plain({"b", "a"}) == _plain({"a", "b"}) == ["a", "b"]
    assert _plain([Thing(), {("a", 1): 2}]) == _plain([Thing(), {("a", 1): 2}])
    assert _plain([1]) != _plain([2])


# Requests


def test_resources_are_the_official_executors() -> None:
    resources = {
        **{"mem_mb": 4000, "runtime": 90, "gpu": 2, "gpu_model": "a100", "qos": "high"},
        **{"slurm_partition": "gpu", "slurm_account": "me", "constraint": "big", "tmpdir": "/tmp"},
        "slurm_extra": "--mail-type=END '--comment=two words' --exclusive",
    }
    assert request_of(resources, 3, 60).slurm_parameters() == {
        "time": 90,
        "mem": "4000M",
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": 3,
        "gpus_per_node": "a100:2",
        "partition": "gpu",
        "account": "me",
        "qos": "high",
        "constraint": "big",
        "additional_parameters": {
            "requeue": True,
            "mail-type": "END",
            "comment": "two words",
            "exclusive": True,
        },
    }


def test_memory_per_cpu_stands_for_memory_and_silence_for_defaults() -> None:
    parameters = request_of({"mem_mb": 1000, "mem_mb_per_cpu": 500}, 1, 60).slurm_parameters()
    assert parameters["mem_per_cpu"] == "500M"
    assert "mem" not in parameters
    assert request_of({}, 1, 45).runtime == 45
    assert request_of({}, 1, 45) == request_of({"gpu": 0, "mem_mb": None}, 1, 45)


@pytest.mark.parametrize(
    "resources",
    [{"gpu": "two"}, {"runtime": -1}, {"slurm_extra": "-x"}, {"slurm_extra": "a=b"}, {"tasks": 2}],
)
def test_bad_resources_are_named(resources: dict[str, object]) -> None:
    (name,) = resources
    with pytest.raises(BadRequest, match=name):
        request_of(resources, 1, 60)


# SLURM's answers


def test_states_of_squeue_and_sacct() -> None:
    text = "12_3|RUNNING|n1|None\n12_[4-5,7%2]|PENDING||Resources\n13|CANCELLED by 0|n2\n"
    states = slurm_answers.read_states(text)
    assert states["12_3"] == State("active", "RUNNING", "n1", "None")
    assert {f"12_{i}" for i in (4, 5, 7)} <= states.keys()
    assert states["12_7"].reason == "Resources"
    assert states["13"] == State("over", "CANCELLED", "n2", "")


@given(st.sets(st.integers(0, 50), min_size=1))
def test_ranges_of_arrays(indices: set[int]) -> None:
    parts: list[str] = []
    for index in sorted(indices):
        if parts and int(parts[-1].split("-")[-1]) == index - 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{index}"
        else:
            parts.append(str(index))
    assert slurm_answers.expand(f"9_[{','.join(parts)}]") == [
        f"9_{index}" for index in sorted(indices)
    ]


@pytest.mark.parametrize(
    ("words", "passing", "too_many"),
    [
        ("Unable to contact slurm controller (connect failure)", True, False),
        ("Batch job submission failed: Socket timed out on send/recv operation", True, False),
        ("Slurm temporarily unable to accept job, sleeping and retrying", True, False),
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: ...", False, True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", False, True),
        (
            "Batch job submission failed: Requested node configuration is not available",
            False,
            False,
        ),
        ("invalid partition specified: nope", False, False),
        ("Invalid account or account/partition combination specified", False, False),
        ("Requested time limit is invalid (missing or exceeds some limit)", False, False),
    ],
)
def test_reasons_that_pass(words: str, passing: bool, too_many: bool) -> None:
    assert bool(slurm_answers.PASSING.search(words)) == passing
    assert bool(slurm_answers.TOO_MANY.search(words)) == too_many


# When a job is over


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


BAD_SETTINGS = [
    (ExecutorSettings(restarts=-1), "submitit-restarts = -1: must be a whole number of at least 0"),
    (ExecutorSettings(grace=0), "submitit-grace = 0: must be a whole number of at least 1"),
    (ExecutorSettings(array_size=0), "submitit-array-size = 0: must be"),
    (ExecutorSettings(default_runtime=0), "submitit-default-runtime = 0: must be"),
    (ExecutorSettings(pending_patience=-1), "submitit-pending-patience = -1: must be"),
    (ExecutorSettings(cores=0), "submitit-cores = 0: must be"),
    (ExecutorSettings(gpus="0,1,0"), "submitit-gpus = '0,1,0': the same GPU stands there twice"),
]


@pytest.mark.parametrize(("settings", "words"), BAD_SETTINGS)
def test_settings_that_mean_nothing(settings: ExecutorSettings, words: str) -> None:
    assert (settings.mistake() or "").startswith(words)
    assert ExecutorSettings().mistake() is None


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"slurm_partition": "gpu\n#SBATCH --wrap=x"}, "slurm_partition = .*no line breaks"),
        ({"slurm_extra": "--comment='a"}, "slurm_extra = .*No closing quotation"),
    ],
)
def test_resources_that_would_be_more_than_one(resources: dict[str, str], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        request_of(resources, 1, 60)


def test_out_of_memory_without_control_groups_is_told_from_slurms_message(attempt: Attempt) -> None:
    (attempt.folder / "7_0_0_log.err").write_text(
        "slurmstepd-n1: error: StepId=4.0 exceeded memory limit (112 > 104), being killed\n"
    )
    TaskState(node="n1").write(attempt.state_file)
    assert "out of memory on n1" in cause_of(attempt, OVER, None)


# The pool of this machine


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6), st.booleans()), max_size=40))
def test_no_gpu_or_core_is_given_twice(jobs: list[tuple[int, int, bool]]) -> None:
    pool = Pool(["0", "1", "2"], cores=8)
    for number, (gpus, cores, release) in enumerate(jobs):
        ids = pool.free(gpus, cores)
        if ids is not None:
            assert len(ids) == gpus
            pool.take(str(number), ids, cores)
        held = [gpu for some, _ in pool.held.values() for gpu in some]
        assert len(held) == len(set(held)) <= 3
        assert sum(count for _, count in pool.held.values()) <= 8
        if release and pool.held:
            pool.release(next(iter(pool.held)))


def test_more_gpus_than_there_are_never_come() -> None:
    with pytest.raises(Refused, match="gpu = 2: this machine has 1"):
        Pool(["0"], cores=1).free(2, 1)
    assert Pool([], cores=1).free(2, 1) == ()


def test_jobs_that_share_gpus_go_to_the_least_busy_one() -> None:
    pool = Pool(["0", "1"], cores=8, jobs_per_gpu=2)
    given = []
    for job in "abcd":
        free = pool.free(1, 1)
        assert free is not None
        pool.take(job, free, 1)
        given.append(free)
    assert given == [("0",), ("1",), ("0",), ("1",)]
    assert pool.free(1, 1) is None
    assert pool.free(0, 1) == ()
    pool.release("b")
    assert pool.free(1, 1) == ("1",)
    assert pool.free(2, 1) is None  # A job of two GPUs needs room on both.
    pool.release("a")
    assert set(pool.free(2, 1) or ()) == {"0", "1"}


def test_gpus_that_are_hidden_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert gpus_of_this_machine() == ["1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_of_this_machine() == []


# Tasks


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


def test_reading_a_journal_needs_neither_snakemake_nor_submitit() -> None:
    code = (
        "import sys; from snakemake_executor_plugin_submitit.journal import Journal;"
        "print([m for m in sys.modules if m.split('.')[0] in ('snakemake', 'submitit')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert answer.stdout == "[]\n", answer.stderr
