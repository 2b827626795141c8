"""`python -m raat_core`: what a shell sees. Bad input is one line, and needs no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import SMALL_CELL, small_cell
from raat_core import api
from raat_core.cells.folder import CellFolder
from raat_core.cells.spec import write_spec
from raat_core.commands.cli import main
from raat_core.commands.show import describe
from raat_core.data.dataset import DataSet
from raat_core.interface.registry import method_class

QUICK_RECIPE = {**SMALL_CELL["recipe"], "epochs": 1, "decay_epochs": []}
QUICK_CELL: dict[str, Any] = {**SMALL_CELL, "recipe": QUICK_RECIPE}


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raat_core", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ)


def test_train_attack_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, folder = tmp_path / "spec.json", tmp_path / "cell"
    spec.write_text(json.dumps(QUICK_CELL))
    summary = tmp_path / "trained.json"
    assert main(["train", str(spec), "--folder", str(folder), "--summary", str(summary)]) == 0
    assert json.loads(summary.read_text())["digest"] == small_cell(recipe=QUICK_RECIPE).digest
    assert main(["attack", str(folder), "--attacks", '[{"kind": "clean", "samples": 30}]']) == 0
    assert main(["show", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "epoch 1/1  lr 0.1  loss" in printed
    assert "clean: " in printed
    assert "of 30 test images" in printed
    assert main(["train", json.dumps(QUICK_CELL), "--folder", str(folder)]) == 0
    assert "epoch 1/1" not in capsys.readouterr().out


def test_show_says_that_an_older_version_of_the_method_trained_a_cell(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = small_cell()
    folder = CellFolder(api.train(cell, tmp_path / cell.name, device="cpu", data=small_data))
    assert "version" not in describe(folder)
    monkeypatch.setattr(method_class("pgd-at"), "version", 7)
    assert "trained by version 1 of method 'pgd-at', and this is version 7: " in describe(folder)


def test_show_says_the_last_whole_epoch_of_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = CellFolder(tmp_path / "cell")
    write_spec(folder, small_cell())
    for text, said in [
        ("epoch,loss\n1,2.5\n2", "history: 1 of 2 epochs; the last: epoch 1, loss 2.5"),
        ("epoch,loss\n", None),
    ]:
        folder.history.write_text(text)
        assert main(["show", str(folder.path)]) == 0
        printed = capsys.readouterr().out
        assert said in printed if said else "history" not in printed


BAD_CALLS: list[tuple[list[str], str]] = [
    (["train", "missing.json"], "cannot read missing.json: No such file"),
    (["train", '{"dataset": "digits", "architecture'], "cut short or damaged"),
    (["train", '{"dataset": "digits"}'], "architecture: is missing"),
    (["train", "[1, 2]"], "the command line: "),
    (["train", json.dumps({**QUICK_CELL, "method": "rat"})], "did you mean 'raat'?"),
    (["attack", "nowhere"], "nowhere: this cell is not trained"),
    (["attack", "nowhere", "--attacks", '[{"kind": "pgdd"}]'], "'pgd'"),
    (["show", "nowhere"], "cannot read nowhere"),
    (["train", json.dumps(QUICK_CELL), "--plugin", "nowhere.py"], "nowhere.py"),
    (["train", json.dumps(QUICK_CELL), "--folder", "/proc/nowhere"], "cannot write /proc/nowhere"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD_CALLS)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert expected in message
    if "is missing" not in expected:
        assert message.count("\n") == 1


def test_a_spec_cut_in_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = json.dumps(QUICK_CELL, indent=2)
    spec = tmp_path / "spec.json"
    spec.write_text(text[: len(text) // 2])
    assert main(["train", str(spec)]) == 2
    assert "spec.json is not valid JSON or YAML, cut short or damaged" in capsys.readouterr().err


def test_specs_and_records_are_read_without_torch() -> None:
    code = (
        "import sys, raat_core.commands.cli, raat_core.cells.folder, raat_core.evaluation.records;"
        "from raat_core.methods import method_class, method_names;"
        "[method_class(name) for name in method_names()];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_saves_and_leaves_promptly(number: signal.Signals, tmp_path: Path) -> None:
    recipe = {**SMALL_CELL["recipe"], "epochs": 1000}
    spec = json.dumps({**SMALL_CELL, "recipe": recipe})
    process = start("train", spec, "--folder", str(tmp_path / "cell"))
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    sent = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - sent < 5
    assert process.returncode == 128 + number
    assert f"stopped by signal {int(number)}; the state is saved" in errors
    assert "Traceback" not in errors
    assert (CellFolder(tmp_path / "cell").resume / "state.safetensors").exists()
