"""Common corruptions: of an archive, computed, what their accuracy is, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import SMALL_CELL, say_trained_on_digits, small_cell
from corrupted_archives import eight_bits, write_archive
from raat_core import api
from raat_core.cells.corruptions import FIFTEEN, MODULE, CorruptionsEvaluation
from raat_core.cells.evaluations import EvaluationList, check_attack, evaluation_name
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Shard
from raat_core.evaluation.records import Record
from raat_core.evaluation.run import evaluate_cell
from raat_core.files.checksums import file_checksum
from raat_core.interface.registry import build_attack, resolve_attack

CPU = torch.device("cpu")
TWO = ("fog", "snow")
ATTACK = CorruptionsEvaluation(source="Digits-C", names=TWO, batch_size=25)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    folder = tmp_path_factory.mktemp("trained")
    recipe = {**SMALL_CELL["recipe"], "epochs": 6, "decay_epochs": [5]}
    return CellFolder(api.train(small_cell(recipe=recipe), folder, device="cpu", data=small_data))


@pytest.fixture
def cell(trained: CellFolder, tmp_path: Path) -> CellFolder:
    shutil.copytree(trained.path, tmp_path / "cell")
    return CellFolder(tmp_path / "cell")


@pytest.fixture
def root(tmp_path: Path, small_data: DataSet) -> Path:
    write_archive(tmp_path / "data" / "Digits-C", small_data.test, TWO)
    return tmp_path / "data"


def run(
    cell: CellFolder, data: DataSet, root: Path, attack: Any = ATTACK, **more: Any
) -> dict[str, Any]:
    return evaluate_cell(cell, EvaluationList(attacks=(attack,)), data, CPU, data_root=root, **more)


def record_of(cell: CellFolder, attack: Any = ATTACK) -> Record:
    return Record.read(cell.record(evaluation_name(attack, "best")))


def expected_right(cell: CellFolder, data: DataSet, root: Path) -> dict[tuple[str, int], Any]:
    """(N,) by name and severity, straight from the files."""
    model, found = api.load(cell.path, device="cpu"), {}
    for name in TWO:
        whole = np.load(root / "Digits-C" / f"{name}.npy")
        for severity in range(1, 6):
            pixels = torch.from_numpy(whole[60 * (severity - 1) : 60 * severity])
            with torch.no_grad():
                logits = model(pixels.permute(0, 3, 1, 2).float() / 255)
            found[name, severity] = (logits.argmax(1) == data.test.labels).numpy()
    return found


def test_the_accuracy_is_the_mean_over_corruptions_and_severities(
    cell: CellFolder, small_data: DataSet, root: Path
) -> None:
    (summary,) = run(cell, small_data, root)["attacks"]
    right = expected_right(cell, small_data, root)
    accuracies = [100 * each.mean() for each in right.values()]
    assert summary["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-4)
    record = record_of(cell)
    assert record.accuracy == pytest.approx(np.mean(accuracies), abs=1e-4)
    for (name, severity), expected in right.items():
        bits = record.details[name] >> (severity - 1) & 1
        assert np.array_equal(bits.astype(bool), expected), (name, severity)
    assert np.allclose(record.right, np.mean(list(right.values()), axis=0))
    assert record.metadata["accuracy_is"] == (
        "mean over fog, snow at severity 1, 2, 3, 4, 5, of Digits-C"
    )
    files = {f"{name}.npy": root / "Digits-C" / f"{name}.npy" for name in ("labels", *TWO)}
    assert record.metadata["attack_files"] == {n: file_checksum(p) for n, p in files.items()}


def test_what_is_wrong_when_clean_may_be_right_when_corrupted(
    cell: CellFolder, small_data: DataSet, tmp_path: Path
) -> None:
    """An archive that has, in every image's place, one of its class that the model is right on."""
    labels, test = small_data.test.labels, small_data.test
    model = api.load(cell.path, device="cpu")
    with torch.no_grad():
        clean = model(test.batch(torch.arange(60))[0]).argmax(1)
    chosen = torch.arange(60)
    for number in range(60):
        same = ((labels == labels[number]) & (clean == labels)).nonzero().flatten()
        chosen[number] = same[0] if len(same) else number
    write_archive(tmp_path / "Digits-C", test, TWO)
    pixels = eight_bits(test)[chosen.numpy()]
    np.save(tmp_path / "Digits-C" / "fog.npy", np.tile(pixels, (5, 1, 1, 1)))
    attack = CorruptionsEvaluation(source="Digits-C", names=("fog",))
    run(cell, small_data, tmp_path, attack)
    record = record_of(cell, attack)
    mended = (record.clean != record.label) & (record.prediction == record.label)
    assert mended.any()
    assert record.right[mended].tolist() == [1.0] * int(mended.sum())


def test_shared_out_and_in_any_order_it_is_the_same(
    cell: CellFolder, small_data: DataSet, root: Path, tmp_path: Path
) -> None:
    other = CellFolder(tmp_path / "other")
    shutil.copytree(cell.path, other.path)
    run(cell, small_data, root)
    for number in (3, 1, 2):
        run(other, small_data, root, shard=Shard(number, 3))
    join_cell(other, EvaluationList(attacks=(ATTACK,)))
    first, second = record_of(cell), record_of(other)
    for name, values in first.arrays.items():
        assert np.array_equal(values, second.arrays[name]), name
    assert first.accuracy == second.accuracy


def test_a_record_of_other_files_is_made_again(
    cell: CellFolder, small_data: DataSet, root: Path
) -> None:
    run(cell, small_data, root)
    before = record_of(cell).accuracy
    path = root / "Digits-C" / "snow.npy"
    np.save(path, np.zeros_like(np.load(path)))
    (summary,) = run(cell, small_data, root)["attacks"]
    assert summary["accuracy"] != before


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("fog", lambda a: a[:-1], "must be uint8 of shape (300, 8, 8, 1), not uint8 of shape (299"),
        ("fog", lambda a: a.astype(np.float32), "not float32 of shape (300, 8, 8, 1)"),
        ("labels", lambda a: (a + 1) % 10, "it is of other test images"),
        ("labels", lambda a: a[:-1], "a class for each of 5 times the test images"),
        ("labels", lambda a: np.tile(a[:59], 5), "must be uint8 of shape (295, 8, 8, 1)"),
        ("labels", lambda a: np.array([{"no": "pickles"}]), "no whole .npy file"),
    ],
)
def test_other_files_are_refused(
    name: str, change: Any, told: str, cell: CellFolder, small_data: DataSet, root: Path
) -> None:
    path = root / "Digits-C" / f"{name}.npy"
    np.save(path, change(np.load(path)), allow_pickle=True)
    with pytest.raises(UserError) as error:
        run(cell, small_data, root)
    assert told in str(error.value)
    assert str(path.parent) in str(error.value)


def test_a_missing_archive_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = json.dumps(small_cell().to_json())
    attacks = json.dumps([{"kind": "corruptions", "source": "CIFAR-10-C"}])
    folder = tmp_path / "cell"
    given = ["--attacks", attacks, "--data", str(tmp_path), "--folder", str(folder)]
    assert main(["run", spec, *given]) != 0
    told = capsys.readouterr().err
    assert f"source = 'CIFAR-10-C': {tmp_path}/CIFAR-10-C has no labels.npy, gauss" in told
    assert not folder.exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "source"),
        ({"source": "../elsewhere"}, "below the data folder"),
        ({"source": "computed", "names": ["mist"]}, "gaussian_noise"),
        ({"source": "computed", "severities": [0]}, "greater than or equal to 1"),
        ({"source": "computed", "severities": [1, 1]}, "each but once"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        resolve_attack({"kind": "corruptions", **settings})


def test_small_images_cannot_be_computed() -> None:
    attack = CorruptionsEvaluation(source="computed")
    with pytest.raises(ValueError, match="RGB images of at least 32x32 pixels, not 1x8x8"):
        check_attack(attack, "digits")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install imagecorruptions-imaug"):
        check_attack(CorruptionsEvaluation(source="computed"), "cifar10")


def test_no_checkpoint_is_chosen_by_it() -> None:
    selection = {"by": {"kind": "corruptions", "source": "computed"}}
    with pytest.raises(UserError, match="kind = 'corruptions': is no attack in a ball"):
        small_cell(selection=selection)


def test_it_costs_a_forward_for_each() -> None:
    attack = build_attack(CorruptionsEvaluation(source="computed"))
    assert attack.passes(10, 0.9, 0.5).forwards == 75
    assert len(FIFTEEN) == 15


@pytest.mark.parametrize("side", [32, 64])
def test_computed_ones_are_functions_of_image_and_seed(side: int) -> None:
    pytest.importorskip(MODULE, exc_type=ImportError)
    from raat_core.attacks.corruptions import computed

    images = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([5, 6, 7, 8])
    for name in FIFTEEN:
        whole = computed(name, 3, index, images, seed=0)
        assert whole.shape == images.shape
        assert 0 <= whole.min() <= whole.max() <= 1
        assert not torch.equal(whole, images)
        again = computed(name, 3, index[2:], images[2:], seed=0)
        assert torch.equal(again, whole[2:]), name
    noise = [computed("gaussian_noise", 3, index, images, seed=seed) for seed in (0, 1)]
    assert not torch.equal(*noise)


def test_a_digits_cell_from_the_command_line(
    cell: CellFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path / "Digits-C", api.load_data_set("digits").test, TWO)
    say_trained_on_digits(cell)
    attacks = json.dumps([{"kind": "corruptions", "source": "Digits-C", "names": list(TWO)}])
    arguments = ["attack", str(cell.path), "--attacks", attacks, "--data", str(tmp_path)]
    assert main(arguments) in (0, None)
    assert "corruptions" in capsys.readouterr().out
