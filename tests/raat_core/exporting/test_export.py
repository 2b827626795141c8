"""A model that is handed on: the same predictions elsewhere, a model card, nothing overwritten."""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import add_record, logits_elsewhere, random_cell
from torch import nn

from conftest import NETWORK_PLUGIN, small_cell
from raat_core import api
from raat_core.cells.evaluations import CleanEvaluation, EvaluationList, PgdEvaluation
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.evaluation.run import evaluate_cell
from raat_core.exporting import export
from raat_core.exporting.export import export_cell
from raat_core.exporting.folders import sha256_of
from raat_core.exporting.forms import FORMS
from raat_core.files.checksums import read_json
from raat_core.interface.plugins import load_plugin
from raat_core.interface.registry import BUILT_IN_ARCHITECTURES

SAMPLES = os.environ.get("RAAT_SAMPLE_IMAGES")
WRITES_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not WRITES_ONNX, reason="onnx, onnxscript, onnxruntime: not here")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> Path:
    folder = tmp_path_factory.mktemp("cell")
    return api.train(small_cell(), folder, device="cpu", data=small_data)


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


def loading(folder: Path) -> str:
    """The code that the model card shows."""
    code = re.search(r"```python\n(.*?)```", card_of(folder), re.DOTALL)
    assert code is not None
    return code.group(1)


@pytest.mark.parametrize(
    "form", ["state-dict", "torch-export", pytest.param("onnx", marks=needs_onnx), "robustbench"]
)
def test_predictions_are_the_same_in_a_process_without_the_package(
    form: str, trained: Path, small_data: DataSet, tmp_path: Path
) -> None:
    to = tmp_path / "exported"
    done = export_cell(CellFolder(trained), to, form)
    images, _ = small_data.test.batch(torch.arange(60))
    expected = api.load(trained, device="cpu")(images)
    found = logits_elsewhere(to, loading(to), images)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert done["files"] == {
        path.relative_to(to).as_posix(): sha256_of(path.read_bytes())
        for path in to.rglob("*")
        if path.is_file() and path.name != "export.json"
    }
    assert done["read_back"]["difference"] < 1e-4
    assert done == read_json(to / "export.json")


def test_state_dict_has_plain_names_and_either_checkpoint(trained: Path, tmp_path: Path) -> None:
    for checkpoint in ("best", "last"):
        to = tmp_path / checkpoint
        api.export(trained, to, checkpoint=checkpoint)
        weights = torch.load(to / "weights.pt", weights_only=True)
        expected = api.load(trained, checkpoint, "cpu").state_dict()
        assert list(weights) == list(expected)
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    cards = [card_of(tmp_path / checkpoint) for checkpoint in ("best", "last")]
    assert "Checkpoint: the best, epoch" in cards[0]
    assert "Checkpoint: the last, epoch 2 of 2." in cards[1]


@pytest.mark.parametrize("architecture", BUILT_IN_ARCHITECTURES)
def test_every_architecture_is_loaded_back(architecture: str, tmp_path: Path) -> None:
    dataset = "cifar10" if architecture == "preact-resnet-18-normalised" else "digits"
    cell = random_cell(tmp_path, architecture, dataset)
    done = api.export(cell.path, tmp_path / "to", "state-dict")
    assert done["read_back"]["difference"] == 0.0


@pytest.mark.parametrize("architecture", ["vit-mini", "group-net"])
def test_a_plugins_network_is_written_out_with_its_neighbours(
    architecture: str, tmp_path: Path
) -> None:
    load_plugin(str(NETWORK_PLUGIN))
    cell = random_cell(tmp_path, architecture, "digits")
    for form in ("state-dict", "torch-export"):
        done = export_cell(cell, tmp_path / form, form)
        assert done["read_back"]["difference"] < 1e-5


def test_a_network_that_is_random_in_evaluation_is_not_handed_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(*arguments: object) -> nn.Module:
        model = api.load(trained, device="cpu")
        model.register_forward_hook(lambda module, images, logits: logits + torch.randn(1))
        return model

    monkeypatch.setattr(export, "load_model", noisy)
    with pytest.raises(UserError, match=r"logits are off by up to .* random"):
        export_cell(CellFolder(trained), tmp_path / "to", "state-dict")
    assert list(tmp_path.iterdir()) == []


def test_card_says_what_is_known_and_what_was_not_checked(
    small_data: DataSet, tmp_path: Path
) -> None:
    folder = api.train(small_cell(), tmp_path / "cell", device="cpu", data=small_data)
    attack = PgdEvaluation(norm="linf", epsilon=0.15, step_size=0.05, steps=3)
    cell = CellFolder(folder)
    api.export(folder, tmp_path / "first")
    assert "there is no record of this checkpoint" in card_of(tmp_path / "first")
    attacks = EvaluationList(attacks=(CleanEvaluation(), attack))
    found = evaluate_cell(cell, attacks, small_data, torch.device("cpu"))
    api.export(folder, tmp_path / "to", name="Mine2026-x")
    card = card_of(tmp_path / "to")
    assert card.startswith("# Mine2026-x\n")
    for entry in found["attacks"]:
        assert f"| {entry['accuracy']:.2f} | 60 of 60 |" in card
    manifest = read_json(folder / "manifest.json")
    for said in (
        f"SHA-256 `{manifest['data_sha256'] or 'not kept'}`",
        manifest["weights_sha256"]["best"],
        "chosen by PGD-2 accuracy on the test split – the images that the numbers below are of",
        "The standard AutoAttack in the ball of the threat model: no record.",
        "step_size 0.05, steps 3",
        '"decay_epochs": [',
        sha256_of((tmp_path / "to/weights.pt").read_bytes()),
        "to be stated by whoever publishes them",
    ):
        assert said in card, said
    session = manifest["sessions"][0]
    assert f"from {session['start']}" in card
    for private in (session["host"], str(tmp_path)):
        assert private not in card.split()


def test_flags_and_records_of_other_weights_and_images(tmp_path: Path) -> None:
    cell = random_cell(tmp_path, "resnet-mini", "digits")
    clean: dict[str, object] = {"kind": "clean"}
    add_record(cell, "best_clean", clean, [True] * 10, flags=["too good | to be true"])
    add_record(cell, "best_other-weights", clean, [False] * 10, weights_sha256="1" * 64)
    add_record(cell, "best_other-images", clean, [False] * 10, data_sha256="1" * 64)
    api.export(cell.path, tmp_path / "to")
    card = card_of(tmp_path / "to")
    assert "- clean: too good | to be true" in card
    assert "| 100.00 | 10 of 10 |" in card
    assert "| 0.00 |" not in card


def test_a_folder_with_other_things_is_left_alone(trained: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    api.export(trained, to)
    first = (to / "export.json").read_bytes()
    (to / "__pycache__").mkdir()
    api.export(trained, to, "torch-export")  # Nobody has changed it: it is replaced whole.
    assert sorted(path.name for path in to.iterdir()) == ["README.md", "export.json", "model.pt2"]
    assert (to / "export.json").read_bytes() != first
    (to / "README.md").write_text("my own words\n")
    with pytest.raises(UserError, match=r"to = .*: README\.md was changed since"):
        api.export(trained, to)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("all of it\n")
    with pytest.raises(UserError, match=r"to = .*: holds thesis\.tex"):
        api.export(trained, other)
    with pytest.raises(UserError, match=r"holds best\.safetensors|holds history\.csv|holds \."):
        api.export(trained, trained)
    with pytest.raises(UserError, match="is a file"):
        api.export(trained, other / "thesis.tex")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "to"]


def test_a_full_disk_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise UserError(f"cannot write {path}: No space left on device")

    api.export(trained, tmp_path / "to")
    before = card_of(tmp_path / "to")
    monkeypatch.setattr(export, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        api.export(trained, tmp_path / "to", "torch-export")
    assert card_of(tmp_path / "to") == before
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_command_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "to"
    summary = tmp_path / "summary.json"
    command = ["export", str(trained), "--to", str(to)]
    assert main([*command, "--as", "torch-export", "--summary", str(summary)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{to}: model.pt2, README.md; read back without this package")
    assert json.loads(summary.read_text())["form"] == "torch-export"
    assert main([*command, "--name", "../x"]) == 2
    assert capsys.readouterr().err.startswith("error: name = '../x': must be up to 100 letters")
    assert main(["export", str(tmp_path / "none"), "--to", str(to)]) == 2
    assert "is not trained" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--as", "pickle"])
    assert "invalid choice: 'pickle'" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"form = 'onxx'.*onnx"):
        export_cell(CellFolder(trained), to, "onxx")


@pytest.mark.skipif(WRITES_ONNX, reason="what ONNX needs is installed")
def test_onnx_says_what_it_needs(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"form = onnx: needs onnx.*pip install"):
        api.export(trained, tmp_path / "to", "onnx")


@pytest.mark.skipif(not SAMPLES, reason="RAAT_SAMPLE_IMAGES names no folder of real images")
@pytest.mark.parametrize("form", FORMS)
def test_real_images(form: str, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    if form == "onnx" and not WRITES_ONNX:
        pytest.skip("onnx, onnxscript, onnxruntime: not here")
    pictures = ImageFolder(str(Path(SAMPLES or "") / "cifar10-exact/test"))
    chosen = [np.asarray(pictures[place][0]) for place in range(0, len(pictures), 16)]
    images = torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).contiguous() / 255
    cell = random_cell(tmp_path, "resnet-18", "cifar10")
    expected = api.load(cell.path, device="cpu")(images)
    export_cell(cell, tmp_path / "to", form)
    found = logits_elsewhere(tmp_path / "to", loading(tmp_path / "to"), images)
    assert len(images) == 64
    assert torch.equal(found.argmax(1), expected.argmax(1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
