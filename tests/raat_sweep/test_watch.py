"""What `python -m raat_sweep watch` makes of the files of a sweep: states, progress, totals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GRID
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import write_history
from raat_core.cells.spec import write_spec
from raat_core.files.checksums import write_arrays
from raat_sweep.commands.text import cut, hours, shorten, span
from raat_sweep.commands.watch import JOURNAL, render, totals
from raat_sweep.config.reading import read_config
from raat_sweep.monitor.sweep import Row, SweepStatus, sweep_status
from raat_sweep.plan.plan import Plan
from snakemake_executor_plugin_submitit.journal import Attempt, JobRecord, Journal
from snakemake_executor_plugin_submitit.state import TaskState

NOW = 4_000_000_000.0
"""Later than any file that a test makes and does not date."""
CONFIG: dict[str, Any] = {
    "results": "results/tiny",
    "recipes": {"default": {"epochs": 10, "decay_epochs": []}},
    "attacks": {
        "clean": {"kind": "clean", "title": "Clean", "job": "first"},
        "pgd10": {"kind": "pgd", "title": "PGD-10", "steps": 10, "job": "second"},
    },
    "items": {
        "tiny": {"kind": "table", "title": "T", "metrics": ["clean", "pgd10"], "grids": [GRID]}
    },
}


class Folders:
    """The files of a sweep in the working directory, made by hand; cells go by their seeds."""

    def __init__(self, seeds: int, methods: tuple[str, ...] = ("PGD-AT",)) -> None:
        self.config = json.loads(json.dumps(CONFIG))
        self.config["items"]["tiny"]["grids"][0].update(seeds=list(range(seeds)), methods=methods)
        Path("config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(self.config))))
        self.plan = Plan(read_config(self.config, "test"))
        self.names = list(self.plan.cells)
        self.results = Path(self.plan.config.results)
        self._journal: Journal | None = None

    def cell(self, seed: int) -> CellFolder:
        return CellFolder(self.results / "cells" / self.names[seed])

    def train(self, seed: int, epochs: int, *, age: float = 0.0, seconds: float = 60.0) -> None:
        """So many epochs, the last one `age` seconds ago and not evaluated."""
        folder = self.cell(seed)
        write_spec(folder, self.plan.cells[folder.path.name])
        rows = [
            {
                "epoch": epoch,
                "learning_rate": 0.1,
                "loss": 2.0 / epoch,
                "clean_accuracy": None if epoch == epochs else 80.0,
                "robust_accuracy": None if epoch == epochs else 10.0 * epoch,
                "seconds": seconds,
            }
            for epoch in range(1, epochs + 1)
        ]
        if rows:
            write_history(folder, rows)
        self.date(seed, age)

    def finish(self, seed: int, *, age: float = 1000.0, device: str = "cpu") -> None:
        """Trained to the end."""
        self.train(seed, 10, age=age)
        session = {"host": "n7", "scheduler_job": "99", "device": device}
        self.cell(seed).manifest.write_text(json.dumps({"sessions": [session]}))
        self.date(seed, age)

    def lists(self, seed: int) -> list[str]:
        """Names of the files that end its two attack lists."""
        name = self.names[seed]
        return [
            self.plan.jobs.summary_name(cell, one)
            for cell, one in self.plan.jobs.lists
            if cell == name
        ]

    def attack(self, seed: int, *, lists: int = 2, seconds: float = 30.0) -> None:
        for summary in self.lists(seed)[:lists]:
            attacks = [{"label": "a", "seconds": seconds}]
            (self.cell(seed).path / summary).write_text(json.dumps({"attacks": attacks}))

    def date(self, seed: int, age: float) -> None:
        for path in self.cell(seed).path.iterdir():
            os.utime(path, (NOW - age, NOW - age))

    def log(self, seed: int, text: str, *, rule: str = "train", age: float = 0.0) -> Path:
        stem = self.names[seed] + ("_best_0123abcd" if rule == "attack" else "")
        path = self.results / "logs" / rule / f"{stem}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (NOW - age, NOW - age))
        return path

    def submit(
        self,
        seed: int,
        monkeypatch: pytest.MonkeyPatch,
        *,
        file: str = "trained.json",
        age: float = 1000.0,
        results: Path | None = None,
    ) -> Attempt:
        """A job that makes a file in the cell's folder, sent `age` seconds ago."""
        self._journal = self._journal or Journal.open(JOURNAL)
        output = str((results or self.results) / "cells" / self.names[seed] / file)
        record = JobRecord(output, "train", "", (output,), "job.log", "")
        number = len(self._journal.submissions)
        monkeypatch.setattr(time, "time", lambda: NOW - age)
        (attempt,) = self._journal.sending(f"s{number}", "slurm", "train", [record])
        self._journal.sent(f"s{number}", [f"{70 + number}_0"])
        monkeypatch.undo()
        return attempt

    def end(
        self, attempt: Attempt, monkeypatch: pytest.MonkeyPatch, cause: str, *, age: float = 500.0
    ) -> None:
        assert self._journal is not None
        monkeypatch.setattr(time, "time", lambda: NOW - age)
        self._journal.ended(attempt, "failed", cause, {"node": "n3", "gpus": "0", "seconds": 1.0})
        monkeypatch.undo()

    def cancel(self, attempt: Attempt) -> None:
        assert self._journal is not None
        self._journal.cancelled([attempt])

    def look(self) -> SweepStatus:
        return sweep_status(self.plan, JOURNAL, NOW)

    def row(self, seed: int = 0) -> Row:
        (row,) = [row for row in self.look().rows if row.cell == self.names[seed]]
        return row


MakeFolders = Callable[..., Folders]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes `Folders` in an empty working directory."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield Folders
    os.chdir(before)


def write_state(attempt: Attempt, phase: str, age: float = 10.0, **changes: Any) -> None:
    state = TaskState(id="70_0", node="n1", phase=phase, started_at=NOW - 900, seen_at=NOW - age)
    attempt.state_file.parent.mkdir(parents=True, exist_ok=True)
    attempt.state_file.write_text(json.dumps({**asdict(state), **changes}))


def shown(row: Row) -> str:
    """State and note as they are printed."""
    return f"{row.state} {row.note.format(age=span(row.age))}".strip()


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


def in_shards(folders: Folders, shards: int = 3) -> list[str]:
    """Have the second attack made in shards; names of the files that end them."""
    folders.config["attacks"]["pgd10"].update(shards=shards, batch_size=10)
    folders.plan = Plan(read_config(folders.config, "test"))
    (name,) = {name for (_, name), count in folders.plan.jobs.shards.items() if count == shards}
    return [f"shards/{name}_{number}of{shards}.json" for number in range(1, shards + 1)]


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


def test_a_list_in_shards_ends_sooner(make: MakeFolders) -> None:
    folders = make(2)
    ends = []
    for shards in (3, 2):
        in_shards(folders, shards)
        folders.finish(0)
        folders.attack(0, seconds=300.0)
        folders.finish(1, age=5)
        folders.attack(1, lists=1, seconds=300.0)
        forecast = folders.look().forecast
        assert forecast is not None
        ends.append(forecast.seconds)
    assert ends == [100, 150]


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


def test_causes_stand_below_their_cells(make: MakeFolders) -> None:
    folders = make(2)
    log = folders.log(1, "error: no space left\n")
    lines = render(folders.look()).splitlines()
    assert lines[1].startswith(folders.names[1])
    assert lines[2] == f"    no space left (log: {log})"
    assert lines[3].startswith(folders.names[0])


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


# The whole


def test_what_needs_eyes_comes_first(make: MakeFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make(6)
    folders.finish(0)
    folders.attack(0)
    folders.submit(2, monkeypatch)
    write_state(folders.submit(3, monkeypatch), "running")
    folders.log(4, "error: no\n")
    write_state(folders.submit(5, monkeypatch), "running", age=1000)
    states = [row.state for row in folders.look().rows]
    assert states == ["failed", "lost", "running", "pending", "waiting", "done"]
    assert totals(folders.look()).startswith(
        "6 cells: 1 failed, 1 lost, 1 running, 1 pending, 1 waiting, 1 done"
    )


def test_forecast_goes_by_cells_alike(make: MakeFolders) -> None:
    folders = make(4)
    folders.finish(0)
    folders.attack(0, seconds=100.0)
    folders.train(1, 4, age=20, seconds=50.0)
    folders.train(2, 9, age=10, seconds=70.0)
    # Left: of 1 6 x 50 - 20, of 2 1 x 70 - 10, and of 3 10 x (60 + 50 + 70) / 3; 200 of attacks.
    first, second, third = 280 + 200, 60 + 200, 600 + 200
    forecast = folders.look().forecast
    assert forecast is not None
    assert forecast.seconds == pytest.approx(max(first, second + third))
    assert forecast.at_a_time == 2
    assert totals(folders.look()).endswith("; all done in about 18 min at 2 cells at a time")
    folders.log(3, "error: no\n")
    assert totals(folders.look()).endswith("; the others done in about 8 min at 2 cells at a time")


def test_no_forecast_where_files_do_not_say_enough(make: MakeFolders) -> None:
    folders = make(2, methods=("PGD-AT", "TRADES"))
    folders.train(0, 4, age=20)
    assert folders.look().forecast is None, "no attack has been timed"
    folders.finish(1)
    folders.attack(1)
    assert folders.look().forecast is None, "no epoch of the other method has been timed"
    folders.train(2, 1, age=10_000)
    assert folders.look().forecast is not None
    folders.train(0, 4, age=10_000)
    assert folders.look().forecast is None, "nothing runs"


INFINITE = b'{"attacks": [{"seconds": Infinity}]}'
GARBAGE = [
    INFINITE,
    b"",
    b"\x00\xff\xfe",
    b"{",
    b"[]",
    b"3",
    b'{"sessions": 3, "attacks": 4}',
    b"a,b\n1\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_damaged_files_are_survived(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    folders = make(3)
    for seed, age in enumerate((50, 50, 5000)):
        folders.finish(seed, age=age)
        folders.attack(seed, lists=1)
    state_file = folders.submit(2, monkeypatch).state_file
    state_file.parent.mkdir(parents=True, exist_ok=True)
    log = folders.log(0, "error: no\n")
    (folders.cell(1).resume).mkdir()
    folders.cell(1).manifest.unlink()
    spec, manifest = folders.cell(0).spec, folders.cell(0).manifest
    summary = folders.cell(0).path / folders.lists(0)[0]
    resume = folders.cell(1).resume / "state.safetensors"
    history = folders.cell(0).history
    for path in (spec, manifest, summary, resume, history, state_file, log):
        path.write_bytes(garbage)
    sweep = folders.look()
    assert len(render(sweep).splitlines()) == 1 + 3 + 1
    assert (folders.row(0).state, folders.row(0).epoch) == ("trained", 10)
    assert (folders.row(0).loss, folders.row(0).seconds) == (None, 0)
    assert shown(folders.row(2)) == "lost state file damaged"


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"3",
        b'{"event": "ended", "submission": "s0", "index": 7}',
        b'{"event": "sending"}',
    ],
)
def test_a_damaged_journal_is_said_and_survived(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    folders = make(1)
    folders.submit(0, monkeypatch)
    journal = JOURNAL / "jobs.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"event": "sen')
    assert folders.row().state == "pending", "a torn last line is usual"
    journal.write_bytes(whole + line + b"\n")
    sweep = folders.look()
    assert sweep.rows[0].state == "pending", "the other lines hold"
    (warning,) = sweep.warnings
    assert f"{JOURNAL} is damaged: left out: line " in warning
    assert warning in render(sweep)


def test_a_line_of_a_submission_that_is_not_there_is_passed_over(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.submit(0, monkeypatch)
    journal = Journal.read(JOURNAL)
    journal.submissions["unknown"] = []
    journal.sent("unknown", [])
    assert folders.row().state == "pending"
    assert not folders.look().warnings


def test_state_files_with_impossible_values_are_damaged(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(3)
    for seed, value in enumerate(("soon", None, float("nan"))):
        write_state(folders.submit(seed, monkeypatch), "running", seen_at=value)
        assert shown(folders.row(seed)) == "lost state file damaged"


def test_history_that_is_being_written_shows_what_is_whole(make: MakeFolders) -> None:
    folders = make(1)
    folders.train(0, 4)
    text = folders.cell(0).history.read_text()
    folders.cell(0).history.write_text(text[:-8] + "\n")
    assert folders.row().epoch == 3
    folders.cell(0).history.write_text(text.replace(",60.0", ",inf"))
    assert folders.row().epoch == 0


def test_a_thousand_cells_are_quick(make: MakeFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make(1000)
    folders.finish(0)
    template = {path.name: path.read_bytes() for path in folders.cell(0).path.iterdir()}
    for seed in range(1, 1000):
        folders.cell(seed).path.mkdir(parents=True)
        for name, content in template.items():
            if seed % 2 or name != "manifest.json":
                (folders.cell(seed).path / name).write_bytes(content)
        folders.date(seed, age=10_000)
        if seed % 2 == 0:
            folders.log(seed, "epoch 1/10\n" * 10 + "error: no\n")
    monkeypatch.setattr(os, "fsync", lambda number: None)
    records = [
        JobRecord(str(path), "attack", "", (str(path),), "job.log", "")
        for seed in range(1000)
        for path in [folders.cell(seed).path / folders.lists(seed)[0]]
    ]
    Journal.open(JOURNAL).sending("s0", "slurm", "attack", records)
    began = time.process_time()
    text = render(folders.look(), width=120)
    spent = time.process_time() - began
    assert len(text.splitlines()) >= 1000
    assert spent < 2.0


# Printing


def test_lines_fit_the_terminal_and_keep_seed_and_digest(make: MakeFolders) -> None:
    folders = make(3)
    folders.train(0, 3, age=10)
    folders.log(1, f"error: {'far too long ' * 20}\n")
    for width in (80, 100, 200):
        lines = render(folders.look(), width).splitlines()
        assert max(map(len, lines)) <= width
    digest = folders.plan.cells[folders.names[0]].digest
    (line,) = [line for line in render(folders.look(), 80).splitlines() if digest in line]
    assert line.startswith("digits")
    assert folders.names[0] in render(folders.look())


def test_a_screen_too_low_shows_what_comes_first(make: MakeFolders) -> None:
    folders = make(30)
    folders.log(29, "error: no\n")
    lines = render(folders.look(), 100, height=10).splitlines()
    assert len(lines) == 10
    assert "failed" in lines[1]
    shown = sum("digits" in line and "log:" not in line for line in lines)
    assert lines[-2] == f"and {30 - shown} more cells; --once prints all"
    assert lines[-1].startswith("30 cells")
    assert "more cells" not in render(folders.look(), 100, height=33)
    for seed in range(30):
        folders.log(seed, "error: no\n")
    assert render(folders.look(), 100, height=10).splitlines()[-2].startswith("and 26 more")


def test_columns_without_anything_are_left_out(make: MakeFolders) -> None:
    folders = make(2)
    header = render(folders.look()).splitlines()[0].split()
    assert header == ["cell", "state"]
    folders.train(0, 3)
    header = render(folders.look()).splitlines()[0].split()
    assert header == ["cell", "state", "epoch", "loss", "robust", "ETA", "hours"]


def test_words_for_numbers() -> None:
    assert [span(s) for s in (0, 59, 90, 3540, 3900, 200_000)] == [
        "0 s", "59 s", "2 min", "59 min", "1 h 05 min", "2 d 7 h",
    ]  # fmt: skip
    assert [hours(3600 * h) for h in (0.002, 0.314, 12.36, 1250.4)] == [
        "0.002", "0.31", "12.4", "1250",
    ]  # fmt: skip
    assert shorten("digits_resnet_raat_s1_0123456789ab", 29) == "digits_resnet…s1_0123456789ab"
    assert (cut("abcdef", 4), cut("abcd", 4)) == ("abc…", "abcd")


# The command


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "raat_sweep", "watch", "config.yaml", *arguments]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_the_command_prints_once_into_a_pipe(
    make: MakeFolders, environment: dict[str, str], arguments: list[str]
) -> None:
    folders = make(2)
    folders.train(0, 3)
    done = subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == render(sweep_status(folders.plan, JOURNAL)) + "\n"


def test_a_reader_that_has_enough_is_no_error(
    make: MakeFolders, environment: dict[str, str]
) -> None:
    make(2)
    process = subprocess.Popen(
        command(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


def test_on_a_terminal_it_goes_on_until_ctrl_c(
    make: MakeFolders, environment: dict[str, str]
) -> None:
    folders = make(2)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("--every", "0.2"), env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    read_until(ours, "2 cells: 2 waiting")
    folders.log(0, "error: no space left\n")
    read_until(ours, "no space left")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    with contextlib.suppress(OSError):  # Everything was read before.
        assert b"Traceback" not in os.read(ours, 100_000)
    os.close(ours)


def read_until(terminal: int, text: str) -> None:
    seen = b""
    deadline = time.monotonic() + 60
    while text.encode() not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 65_536)


def test_a_config_that_is_not_there_is_one_line(
    make: MakeFolders, environment: dict[str, str]
) -> None:
    done = subprocess.run(command(), env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: cannot read config.yaml: No such file or directory\n"


def test_watching_imports_nothing_heavy(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    write_state(make(1).submit(0, monkeypatch), "running")
    code = (
        "import sys; from pathlib import Path; from raat_sweep.commands.watch import watch\n"
        "watch(Path('config.yaml'), 1.0, once=True)\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'snakemake', 'submitit'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "running" in done.stdout


def test_without_the_plugin_a_journal_is_said_to_be_unread(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.submit(0, monkeypatch)
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_submitit.journal", None)
    sweep = folders.look()
    assert sweep.rows[0].state == "waiting"
    assert sweep.warnings[0].startswith("jobs are not shown: import of snakemake_executor_plugin")
