"""Why a cell failed: found in its logs, and told by the gaps of tables and figures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from conftest import GRID
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import write_history
from raat_sweep.config.reading import read_config
from raat_sweep.monitor.failures import TAIL_BYTES, Failures, reason_in
from raat_sweep.numbers.accuracies import measure
from raat_sweep.numbers.curves import curves
from raat_sweep.numbers.outcomes import Records
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.build import build_with_gaps

OUT_OF_MEMORY = "error: job 12_3 on n1: out of memory on n1: raise mem_mb\n"
TRACEBACK = """Traceback (most recent call last):
  File "loop.py", line 1, in run
    step()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB

Details follow.
"""
EXITED = "error: job 12_3 on n1: its command exited with 1\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", None),
        ("epoch 1/2  loss 1.0\nan error: in the middle\n", None),
        ("error: first\nepoch 1/2\nerror: last\nmore\n", "last"),
        (OUT_OF_MEMORY, "job 12_3 on n1: out of memory on n1: raise mem_mb"),
        (TRACEBACK, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        (
            TRACEBACK + EXITED,
            "job 12_3 on n1: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        ),
        ("error: no space\n" + EXITED, "job 12_3 on n1: no space"),
        (EXITED, "job 12_3 on n1: its command exited with 1"),
        ("error: before\n" + OUT_OF_MEMORY, "job 12_3 on n1: out of memory on n1: raise mem_mb"),
        ("Traceback (most recent call last):\n  File\nKeyboardInterrupt\n", None),
        ("bar 10%\rerror: \x1b[31mred\x1b[0m\tand\x07 more\r\n", "red and more"),
        ("error: λ = −1\n", "λ = −1"),
    ],
)
def test_the_last_error_of_a_log_is_the_reason(
    tmp_path: Path, text: str, reason: str | None
) -> None:
    log = tmp_path / "cell.log"
    log.write_bytes(text.encode())
    assert reason_in(log) == reason


def test_logs_of_any_size_and_content_are_read(tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    assert reason_in(log) is None
    log.write_bytes(b"error: old\n" + b"x" * (TAIL_BYTES + 10) + b"\nerror: new\n")
    assert reason_in(log) == "new"
    log.write_bytes(b"\xff\xfe\x00" * 100 + b"\nerror: \xff after noise")
    assert reason_in(log) == "\N{REPLACEMENT CHARACTER} after noise"


def write_log(results: Path, name: str, text: str, at: float) -> Path:
    return write(results / "logs" / name, text, at)


def write_manifest(results: Path, cell: str, at: float) -> Path:
    return write(results / "cells" / cell / "manifest.json", "{}", at)


def write(path: Path, text: str, at: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def reason_of(results: Path, cell: str) -> str | None:
    failure = Failures(results).of(CellFolder(results / "cells" / cell))
    return failure.reason if failure else None


def test_a_cell_that_is_not_trained_is_as_its_newest_log_says(tmp_path: Path) -> None:
    assert reason_of(tmp_path, "cell_s0") is None
    write_log(tmp_path, "train/cell_s0_best_12ab.log", "error: old\n", at=100)
    write_log(tmp_path, "train/cell_s01.log", "error: of another cell\n", at=900)
    assert reason_of(tmp_path, "cell_s0") == "old"
    log = write_log(tmp_path, "train/cell_s0.log", "error: new\n", at=200)
    failure = Failures(tmp_path).of(CellFolder(tmp_path / "cells/cell_s0"))
    assert failure is not None
    assert (failure.reason, failure.log, failure.at) == ("new", log, 200)
    write_log(tmp_path, "train/cell_s0.log", "epoch 1/2\n", at=300)
    assert reason_of(tmp_path, "cell_s0") is None


def test_a_trained_cell_failed_if_one_of_its_attack_jobs_did(tmp_path: Path) -> None:
    write_manifest(tmp_path, "cell_s0", at=200)
    write_log(tmp_path, "train/cell_s0.log", "error: before it was trained\n", at=100)
    assert reason_of(tmp_path, "cell_s0") is None
    write_log(tmp_path, "attack/cell_s0_best_12ab.log", "error: no space\n", at=300)
    write_log(tmp_path, "attack/cell_s0_last_34cd.log", "clean: 80%\n", at=400)
    assert reason_of(tmp_path, "cell_s0") == "no space"


def test_a_shard_that_failed_counts_until_there_are_other_shards(tmp_path: Path) -> None:
    write_manifest(tmp_path, "cell_s0", at=200)
    write_log(tmp_path, "attack/cell_s0_best_12ab_2of3.log", "error: no space\n", at=300)
    write_log(tmp_path, "attack/cell_s0_best_12ab_3of3.log", "3 of 3 batches\n", at=310)
    write_log(tmp_path, "attack/cell_s0_best_34cd_1of2.log", "1 of 3 batches\n", at=320)
    assert reason_of(tmp_path, "cell_s0") == "no space"
    write_log(tmp_path, "attack/cell_s0_best_12ab_1of8.log", "1 of 8 batches\n", at=330)
    assert reason_of(tmp_path, "cell_s0") is None


def test_gaps_have_the_reason_and_the_log(tmp_path: Path) -> None:
    log = write_log(tmp_path, "train/a_s0.log", OUT_OF_MEMORY, at=100)
    attacked = write_log(tmp_path, "attack/b_s0_best_12ab.log", TRACEBACK, at=4e9)
    write_manifest(tmp_path, "b_s0", at=200)
    rows = [{"cell": cell, "record": "best_0"} for cell in ("a_s0", "b_s0", "c_s0")]
    measured = measure(rows, Records(tmp_path / "cells"))
    assert measured["gap"].tolist() == [
        "not trained: job 12_3 on n1: out of memory on n1: raise mem_mb",
        "not attacked: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "not trained",
    ]
    assert measured["log"].tolist() == [str(log), str(attacked), ""]
    curve = curves([{"cell": "a_s0", "metric": "robust", "record": None}], tmp_path / "cells")
    assert curve["gap"].tolist() == measured["gap"].tolist()[:1]


CONFIG: dict[str, Any] = {
    "results": "results/x",
    "recipes": {"default": {"epochs": 1, "decay_epochs": []}},
    "items": {
        "curve": {
            "kind": "figure",
            "title": "T",
            "panels": {
                "a": {
                    "title": "t",
                    "x": "epoch",
                    "x_label": "epoch",
                    "metrics": ["robust"],
                    "grids": [{**GRID, "seeds": [0, 1, 2]}],
                }
            },
        }
    },
}


def test_a_run_that_failed_says_why_cells_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Plan(read_config(yaml.safe_load(json.dumps(CONFIG)), "test"))
    first, second, third = plan.cells
    folder = CellFolder(Path("results/x/cells") / first)
    write_history(folder, [{"epoch": 1, "robust_accuracy": 30.0, "clean_accuracy": 40.0}])
    log = write_log(Path("results/x"), f"train/{second}.log", OUT_OF_MEMORY, at=100)
    build_with_gaps(plan, ["curve"])
    lines = capsys.readouterr().out.splitlines()
    assert "made with gaps, 2 of 3 numbers are missing" in lines[0]
    assert lines[1:] == [
        f"  missing: {second}: job 12_3 on n1: out of memory on n1: raise mem_mb (log: {log})",
        f"  missing: {third}",
    ]
    assert log == Path(f"results/x/logs/train/{second}.log")
    (gap,) = pd.read_csv("results/x/curve.csv")["gap"]
    assert gap == "not trained: job 12_3 on n1: out of memory on n1: raise mem_mb; not trained"
