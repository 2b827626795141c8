"""Two or three classes, and images that an attack cannot take: known before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyautoattack import AutoAttack

from conftest import FEW_CLASSES, SMALL_CELL
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.evaluation.records import Record

L2 = {"norm": "l2", "epsilon": 0.5, "step_size": 0.2, "steps": 2}


@pytest.fixture(autouse=True)
def short_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    original = AutoAttack.__init__

    def shortened(attack: Any, *arguments: Any, **settings: Any) -> None:
        original(attack, *arguments, **settings)
        attack.square.n_queries, attack.apgd.n_iter, attack.fab.n_iter = 20, 4, 4

    monkeypatch.setattr(AutoAttack, "__init__", shortened)


@pytest.mark.parametrize(
    ("classes", "threat"), [(2, SMALL_CELL["threat_model"]), (3, L2)], ids=["2-linf", "3-l2"]
)
def test_few_classes_are_trained_and_attacked(
    classes: int, threat: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = json.dumps({**SMALL_CELL, "dataset": f"digits-{classes}", "threat_model": threat})
    folder, plugin = str(tmp_path / "cell"), ("--plugin", str(FEW_CLASSES))
    assert main(["run", spec, "--folder", folder, "--device", "cpu", *plugin]) == 0
    out = capsys.readouterr().out
    assert "autoattack-custom" in out
    (path,) = CellFolder(Path(folder)).path.glob("records/best_autoattack-custom_*.safetensors")
    record = Record.read(path)
    assert record.metadata["attack"]["version"] == "custom"
    assert record.metadata["attack"]["attacks"] == ["apgd-ce", "fab-t", "square"]
    assert set(record.metadata["work"]) == {"probe", "apgd-ce", "fab-t", "square"}
    assert record.metadata["work"]["probe"]["forwards"] == 5 * 30
    assert set(record.details["broken_by"].tolist()) <= {-1, 0, 1, 2, 3}
    assert ((record.details["broken_by"] == 0) == record.correct).all()
    # The default list once more finds all records, by the same names.
    assert main(["attack", folder, "--device", "cpu", *plugin]) == 0
    assert len(list(path.parent.glob("*.safetensors"))) == 5


def of_size(size: int) -> str:
    """A cell on images that are nowhere."""
    folder = {"name": "tiny", "image_size": size, "classes": 5, "train_size": 9, "test_size": 9}
    images = {"dataset": f"tiny@{'0' * 12}", "image_folder": {**folder, "sha256": "0" * 64}}
    return json.dumps({**SMALL_CELL, **images, "threat_model": L2})


@pytest.mark.parametrize("size", [4, 12, 24])
def test_images_that_square_cannot_start_on_are_refused_before_training(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cell"
    assert main(["run", of_size(size), "--folder", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "kind = 'autoattack' on tiny@000000000000: Square, by its authors' package" in error
    assert f"cannot start in an l2 ball on images of {size} x {size} pixels" in error
    assert "give others by --attacks" in error
    assert not folder.exists()
    without = [{"kind": "autoattack", "norm": "l2", "epsilon": 0.5, "attacks": ["apgd-t", "fab"]}]
    assert main(["run", of_size(size), "--folder", str(folder), "--attacks", json.dumps(without)])
    assert "Square" not in capsys.readouterr().err
    assert folder.exists()
