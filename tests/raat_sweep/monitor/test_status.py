"""What the files of a sweep say of each cell: its state, its failures and its progress."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import sweep_folders
from raat_core.files.checksums import write_arrays
from raat_sweep.commands.watch import render, totals
from sweep_folders import NOW, MakeFolders, in_shards, shown, write_state

make = sweep_folders.make


# States


@pytest.mark.parametrize(
    ("phase", "age", "expected"),
    [
        ("running", 10, "running"),
        ("running", 290, "running"),
        ("running", 360, "lost silent 6 min"),
        ("saving", 10, "saving"),
        ("saving", 7200, "lost silent 2 h 00 min"),
        ("requeued", 7200, "requeued for 2 h 00 min"),
        ("stopped", 60, "lost stopped by the cluster 1 min ago"),
        ("failed", 60, "failed"),
        ("done", 3, "running ended 3 s ago"),
        ("done", 3000, "waiting"),
        ("no such phase", 3, "waiting"),
    ],
)
def test_a_job_is_as_its_state_file_says(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch, phase: str, age: float, expected: str
) -> None:
    folders = make(1)
    write_state(folders.submit(0, monkeypatch), phase, age)
    row = folders.row()
    assert shown(row) == expected
    if row.state != "waiting":
        assert (row.job, row.node) == ("70_0", "n1")


def test_a_job_that_has_not_begun_is_pending(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(2)
    folders.submit(0, monkeypatch, age=180)
    row = folders.row()
    assert (shown(row), row.job, row.node) == ("pending sent 3 min ago", "70_0", "")
    assert folders.row(1).state == "waiting"


def test_where_a_waiting_cell_was_trained_before_is_not_shown(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.finish(0, device="cuda")
    assert (folders.row().node, folders.row().job) == ("n7", "99")
    folders.submit(0, monkeypatch, file=folders.lists(0)[0])
    row = folders.row()
    assert (row.state, row.node, row.job, row.on_gpu) == ("pending", "", "70_0", True)


def test_cancelled_jobs_save_and_then_say_nothing(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(3)
    attempts = [folders.submit(seed, monkeypatch) for seed in range(3)]
    write_state(attempts[0], "running")
    write_state(attempts[1], "stopped")
    for attempt in attempts:
        folders.cancel(attempt)
    folders.end(attempts[2], monkeypatch, "it was cancelled")
    assert [folders.row(seed).state for seed in range(3)] == ["saving", "waiting", "waiting"]


def test_the_newest_attempt_counts(make: MakeFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make(1)
    folders.end(folders.submit(0, monkeypatch), monkeypatch, "out of memory")
    failed = folders.row()
    assert (failed.state, failed.cause, failed.node) == ("failed", "out of memory", "n3")
    folders.submit(0, monkeypatch, age=20)
    again = folders.row()
    assert (again.state, again.job, again.cause) == ("pending", "71_0", "")


def test_a_failed_job_whose_file_is_there_is_past(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.finish(0)
    folders.attack(0)
    folders.end(folders.submit(0, monkeypatch, file="run_x.json"), monkeypatch, "bad luck")
    assert folders.row().state == "done"


def test_of_several_jobs_the_worst_is_shown(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.finish(0)
    first, second = folders.lists(0)
    write_state(folders.submit(0, monkeypatch, file=first), "running")
    assert shown(folders.row()) == "running attacking"
    folders.end(folders.submit(0, monkeypatch, file=second), monkeypatch, "bad luck")
    row = folders.row()
    assert (row.state, row.job, row.cause) == ("failed", "71_0", "bad luck")


def test_jobs_of_other_folders_are_not_this_sweeps(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.submit(0, monkeypatch, results=Path("results/other"))
    assert folders.row().state == "waiting"


def test_done_means_trained_and_attacked(make: MakeFolders) -> None:
    folders = make(4)
    folders.train(0, 3, age=10_000)
    folders.finish(1)
    folders.finish(2)
    folders.attack(2, lists=1)
    folders.finish(3)
    folders.attack(3)
    states = [folders.row(seed).state for seed in range(4)]
    assert states == ["waiting", "trained", "trained", "done"]
    assert shown(folders.row(0)) == "waiting last change 2 h 47 min ago"
    assert (folders.row(3).job, folders.row(3).node) == ("99", "n7")


def test_without_a_journal_a_cell_that_changed_lately_runs(make: MakeFolders) -> None:
    folders = make(3)
    folders.train(0, 3, age=12)
    folders.train(1, 3, age=130)
    folders.train(2, 3, age=130, seconds=100.0)
    assert shown(folders.row(0)) == "running active 12 s ago"
    assert folders.row(1).state == "waiting"
    assert folders.row(2).state == "running", "its epochs take longer than two minutes"


def test_a_lost_job_does_not_hide_that_somebody_is_at_work(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    write_state(folders.submit(0, monkeypatch), "running", age=900)
    folders.train(0, 3, age=1000)
    assert folders.row().state == "lost"
    folders.train(0, 4, age=5)
    assert shown(folders.row()) == "running active 5 s ago"


# Shards


def test_shards_are_jobs_of_their_cell(make: MakeFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make(1)
    shards = in_shards(folders)
    folders.finish(0)
    folders.attack(0, lists=1)
    attempts = [folders.submit(0, monkeypatch, file=file) for file in shards]
    assert folders.row().state == "pending"
    write_state(attempts[1], "running")
    assert shown(folders.row()) == "running attacking, 0 of 3 shards done"
    (folders.cell(0).path / "shards").mkdir()
    (folders.cell(0).path / shards[0]).write_text("{}")
    assert shown(folders.row()) == "running attacking, 1 of 3 shards done"
    folders.end(attempts[2], monkeypatch, "no space")
    row = folders.row()
    assert (row.state, row.job, row.cause) == ("failed", "72_0", "no space")
    in_shards(folders, 4)
    assert folders.row().state == "trained", "they are shared out in another way now"
    in_shards(folders, 3)
    folders.attack(0)
    assert folders.row().state == "done", "what ended the shards may be gone then"


def test_a_shard_that_saves_is_a_sign_of_life(make: MakeFolders) -> None:
    folders = make(1)
    in_shards(folders)
    folders.finish(0)
    folders.cell(0).parts.mkdir(parents=True)
    folders.date(0, age=1000)
    os.utime(folders.cell(0).parts, (NOW - 5, NOW - 5))
    assert shown(folders.row()) == "running active 5 s ago"


# Failures


def test_without_a_journal_the_log_says_what_failed(make: MakeFolders) -> None:
    folders = make(2)
    folders.train(0, 3, age=40)
    log = folders.log(0, "epoch 3/10\nerror: the loss is not finite\n", age=30)
    row = folders.row()
    assert (row.state, row.cause, row.log) == ("failed", "the loss is not finite", str(log))
    folders.train(0, 4, age=20)
    assert folders.row().state == "running", "it went on after the error"


def test_the_log_says_more_than_the_journal_if_it_is_of_the_attempt(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    attempt = folders.submit(0, monkeypatch, age=1000)
    folders.end(attempt, monkeypatch, "its command exited with 2", age=500)
    folders.log(0, "error: of an earlier run\n", age=2000)
    assert folders.row().cause == "its command exited with 2"
    folders.log(0, "error: no space left\nerror: job 70_0 on n3: its command exited with 2\n")
    assert folders.row().cause == "job 70_0 on n3: no space left"


# Progress


def test_progress_of_a_training(make: MakeFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make(1)
    folders.train(0, 4, age=20, seconds=60.0)
    write_state(folders.submit(0, monkeypatch), "running", gpus="GPU-1")
    row = folders.row()
    assert (row.epoch, row.epochs, row.loss, row.robust_accuracy) == (4, 10, 0.5, 30.0)
    assert row.training_left == 6 * 60 - 20
    assert row.seconds == 240
    line = render(folders.look()).splitlines()[1].split("  ")
    assert [place.strip() for place in line if place] == [
        folders.names[0], "running", "70_0", "n1", "4/10", "0.5000", "30.00%", "6 min", "0.067 GPU",
    ]  # fmt: skip


def test_only_what_trains_has_an_end_in_sight(make: MakeFolders) -> None:
    folders = make(2)
    folders.train(0, 4, age=10_000)
    folders.finish(1, age=5)
    assert folders.row(1).state == "running"
    assert [folders.row(seed).training_left for seed in (0, 1)] == [None, None]


def test_the_epoch_under_way_never_counts_more_than_an_epoch(make: MakeFolders) -> None:
    folders = make(1)
    folders.train(0, 4, age=110, seconds=60.0)
    assert folders.row().training_left == 5 * 60


def test_hours_are_of_training_and_attacks(make: MakeFolders) -> None:
    folders = make(2)
    folders.finish(0, device="cuda")
    folders.attack(0, seconds=1500.0)
    folders.finish(1)
    assert (folders.row(0).seconds, folders.row(0).on_gpu) == (600 + 2 * 1500, True)
    assert (folders.row(1).seconds, folders.row(1).on_gpu) == (600, False)
    line = totals(folders.look())
    assert line == "2 cells: 1 trained, 1 done; 1.00 GPU-hours; 0.17 CPU-hours"


def test_the_state_to_resume_from_tells_the_machine(make: MakeFolders) -> None:
    folders = make(1)
    folders.train(0, 3)
    sessions = [{"host": "n4", "scheduler_job": "12", "device": "cuda"}]
    state = folders.cell(0).resume / "state.safetensors"
    write_arrays(state, {}, {"sessions": sessions})
    folders.date(0, age=5)
    assert (folders.row().node, folders.row().job, folders.row().on_gpu) == ("n4", "12", True)
    state.rename(state.with_name("state.previous.safetensors"))
    state.write_bytes(b"half")
    folders.date(0, age=5)
    assert folders.row().node == "n4"
