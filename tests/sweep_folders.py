"""The files of a sweep, made by hand."""

from __future__ import annotations

import json
import os
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
from raat_sweep.commands.text import span
from raat_sweep.commands.watch import JOURNAL
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


def in_shards(folders: Folders, shards: int = 3) -> list[str]:
    """Have the second attack made in shards; names of the files that end them."""
    folders.config["attacks"]["pgd10"].update(shards=shards, batch_size=10)
    folders.plan = Plan(read_config(folders.config, "test"))
    (name,) = {name for (_, name), count in folders.plan.jobs.shards.items() if count == shards}
    return [f"shards/{name}_{number}of{shards}.json" for number in range(1, shards + 1)]
