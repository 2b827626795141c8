"""What `show` says of a record, and that its command makes the same record again."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import small_cell
from raat_core import api
from raat_core.cells.evaluations import PgdEvaluation
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.evaluation.records import Record

PGD = PgdEvaluation(norm="linf", epsilon="0.15", step_size="0.05", steps=2, samples=50)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CellFolder:
    """A cell of the whole data set, so that a process can load what it is attacked with."""
    recipe = {"epochs": 1, "batch_size": 256, "decay_epochs": []}
    folder = tmp_path_factory.mktemp("results") / "a cell"
    api.train(small_cell(recipe=recipe), folder, device="cpu")
    api.attack(folder, [PGD], device="cpu")
    return CellFolder(folder)


def record_of(folder: CellFolder) -> Path:
    (path,) = (folder.path / "records").glob("*.safetensors")
    return path


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["show", str(path)]) == 0
    return capsys.readouterr().out


def test_all_that_qualifies_a_number_is_shown(
    trained: CellFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record_of(trained)
    record = Record.read(path)
    text = shown(path, capsys)
    assert f"{record.accuracy:.2f}%, {int(record.correct.sum())} of 50 images" in text
    for key in ("weights_sha256", "data_sha256", "finished"):
        assert record.metadata[key] in text
    for said in (
        "checkpoint: best, epoch 1, weights with SHA-256",
        "attack: pgd-2: 2 steps of 0.05 on the cross-entropy",
        '"samples": 50',
        "; version 2\n",
        "data: the test split of 360 images",
        f"torch {record.metadata['versions']['torch']}",
        "device cpu",
        "scheduler's job: none",
    ):
        assert said in text, said
    history = "PGD-2 after this epoch on the test split; attacked from other random starts"
    assert history in text
    assert "PGD-2 in the history: attacked from other random" in shown(trained.path, capsys)


def test_the_command_makes_the_same_record_again(
    trained: CellFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given to a copy of the folder without the record, in a process of its own."""
    copy = tmp_path / trained.path.name
    shutil.copytree(trained.path, copy)
    (again,) = [line for line in shown(record_of(CellFolder(copy)), capsys).splitlines()
                if line.startswith("again: ")]  # fmt: skip
    before = Record.read(record_of(CellFolder(copy)))
    record_of(CellFolder(copy)).unlink()
    fast_paths, python, *arguments = shlex.split(again.removeprefix("again: "))
    assert python == "python"
    name, _, value = fast_paths.partition("=")
    environment = {**os.environ, name: value}
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    made = Record.read(record_of(CellFolder(copy)))
    assert made.index.tolist() == before.index.tolist()
    assert made.prediction.tolist() == before.prediction.tolist()
    assert made.metadata["attack"] == before.metadata["attack"]


def test_parts_flags_and_other_weights_are_shown(
    trained: CellFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = CellFolder(tmp_path / "cell")
    shutil.copytree(trained.path, copy.path)
    path = record_of(copy)
    record = Record.read(path)
    session = {key: record.metadata[key] for key in ("seconds", "finished", "hardware")}
    metadata = {
        **record.metadata,
        "weights_sha256": "of others",
        "data_sha256": "other",
        "scheduler_job": "4711",
        "parts": [{"batches": [1, 3], **session, "scheduler_job": "4710"}],
        "flags": ["many gradients are zero"],
        "attack": {**record.metadata["attack"], "steps": 3},
    }
    replace(record, metadata=metadata, clean=None).write(path)
    text = shown(path, capsys)
    assert "weights with SHA-256 of others, but the cell's have " in text
    assert "SHA-256 other, but the cell was trained on data with " in text
    assert "scheduler's job: 4711" in text
    assert "part: batches 1-3, finished " in text
    assert "scheduler_job 4710" in text
    assert "flag: many gradients are zero" in text
    assert "version 2, but the record was made by another one" in text
    assert "right without attack" not in text
    alone = tmp_path / "elsewhere.safetensors"
    shutil.copy(path, alone)
    text = shown(alone, capsys)
    assert text.startswith("record elsewhere of a cell that is not beside it")
    assert "again: " not in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("best.safetensors", "best.safetensors: is no record of an attack"),
        ("none.safetensors", "cannot read"),
        ("cut.safetensors", "is truncated or not a file of this program"),
    ],
)
def test_what_is_no_record_is_said_to_be_none(
    trained: CellFolder, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained.path / "cut.safetensors").write_bytes(record_of(trained).read_bytes()[:99])
    assert main(["show", str(trained.path / name)]) == 2
    assert message in capsys.readouterr().err
