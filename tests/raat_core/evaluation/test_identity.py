"""A record is of one checkpoint and of one set of test images."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from conftest import SMALL_CELL, small_cell
from raat_core import api
from raat_core.cells.evaluations import (
    CleanEvaluation,
    EvaluationList,
    PgdEvaluation,
    check_attack,
    evaluation_name,
)
from raat_core.cells.folder import CellFolder
from raat_core.data.dataset import DataSet, checksum
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation.batch import Samples, attack_batch, predict_batch
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Shard
from raat_core.evaluation.records import Record, images_path
from raat_core.evaluation.run import evaluate_cell
from raat_core.training.loop import Training

CPU = torch.device("cpu")
BALL: dict[str, Any] = {"norm": "linf", "epsilon": 0.15, "step_size": 0.05}
PGD = PgdEvaluation(**BALL, steps=3, batch_size=25)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    recipe = {**SMALL_CELL["recipe"], "epochs": 4, "decay_epochs": [3]}
    folder = tmp_path_factory.mktemp("trained")
    return CellFolder(api.train(small_cell(recipe=recipe), folder, device="cpu", data=small_data))


@pytest.fixture
def cell(trained: CellFolder, tmp_path: Path) -> CellFolder:
    shutil.copytree(trained.path, tmp_path / "cell")
    return CellFolder(tmp_path / "cell")


@pytest.fixture
def reencoded(small_data: DataSet) -> DataSet:
    """The same pictures with one grey level off, as another encoder leaves them."""
    images = small_data.test.images.clone()
    images[0, 0, 0, 0] += 1
    return replace(small_data, test=replace(small_data.test, images=images))


def attack(folder: CellFolder, data: DataSet, *attacks: Any, **more: Any) -> dict[str, Any]:
    return evaluate_cell(folder, EvaluationList(attacks=attacks), data, CPU, **more)


def test_other_test_images_are_refused(
    cell: CellFolder, small_data: DataSet, reencoded: DataSet
) -> None:
    with pytest.raises(UserError, match="was trained on data with the SHA-256") as refusal:
        attack(cell, reencoded, PGD)
    assert checksum(reencoded)[:12] in str(refusal.value)
    assert not (cell.path / "records").exists()
    attack(cell, small_data, PGD)


def test_data_that_was_given_is_not_replaced_by_the_catalogues(
    cell: CellFolder, small_data: DataSet
) -> None:
    """Trained with `data=D`, a cell was attacked on the catalogue's images."""
    with pytest.raises(UserError, match="was trained on data"):
        api.attack(cell.path, [PGD], device="cpu")
    found = api.attack(cell.path, [PGD], device="cpu", data=small_data)
    assert found["attacks"][0]["samples"] == 60


@pytest.mark.parametrize("key", ["data_sha256", "test_size"])
def test_a_record_of_other_images_is_made_again(
    key: str, cell: CellFolder, small_data: DataSet
) -> None:
    attack(cell, small_data, PGD)
    path = cell.record(evaluation_name(PGD, "best"))
    before = Record.read(path)
    other = "0" * 64 if key == "data_sha256" else 59
    replace(
        before, prediction=1 - before.prediction, metadata={**before.metadata, key: other}
    ).write(path)
    said: list[str] = []
    attack(cell, small_data, PGD, report=said.append)
    assert f"ignored: {path} is of other test images; it is made again" in said
    assert Record.read(path).prediction.tolist() == before.prediction.tolist()


def test_join_takes_no_part_of_other_images(cell: CellFolder, small_data: DataSet) -> None:
    attack(cell, small_data, PGD, shard=Shard(1, 1))
    (path,) = cell.parts.iterdir()
    part = Record.read(path)
    replace(part, metadata={**part.metadata, "data_sha256": "0" * 64}).write(path)
    with pytest.raises(UserError, match="not attacked yet"):
        join_cell(cell, EvaluationList(attacks=(PGD,)))


def test_a_training_does_not_go_on_with_other_images(
    tmp_path: Path, small_data: DataSet, reencoded: DataSet
) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Interrupted(15)

    cell, folder = small_cell(), CellFolder(tmp_path)
    first, other = (replace(data, sha256=checksum(data)) for data in (small_data, reencoded))
    with pytest.raises(Interrupted):
        Training(cell, folder, first, CPU, check_stop=stop).run()
    with pytest.raises(UserError, match="this training was begun on data with the SHA-256"):
        Training(cell, folder, other, CPU).run()
    Training(cell, folder, first, CPU).run()
    assert folder.manifest.exists()


def test_an_image_that_is_wrong_when_clean_is_wrong_under_every_attack(
    cell: CellFolder, small_data: DataSet
) -> None:
    """The KL objective leads away from a wrong prediction, too: to the right class for some."""
    model = api.load(cell.path, device="cpu")
    images, labels = small_data.test.batch(torch.arange(60))
    with torch.no_grad():
        wrong = model(images).argmax(1) != labels
    assert wrong.any()
    strong = {**BALL, "epsilon": 0.5, "step_size": 0.2}
    for objective in ("kl", "cross-entropy", "margin"):
        attacked = PgdEvaluation(**strong, steps=5, objective=objective)
        assert not (predict_batch(model, attacked, 0, images, labels) == labels)[wrong].any()
    summary = attack(cell, small_data, PgdEvaluation(**strong, steps=5, objective="kl"))
    record = Record.read(cell.record(summary["attacks"][0]["record"]))
    assert record.clean is not None
    assert np.array_equal(record.clean != record.label, wrong.numpy())
    assert not record.correct[wrong.numpy()].any()


def test_the_versions_that_changed_a_number_are_in_names() -> None:
    """Of full test sets, AutoAttack's and the clean record keep theirs."""
    assert evaluation_name(CleanEvaluation(), "best") == "best_clean_66c1253f"
    names = {evaluation_name(CleanEvaluation(samples=n), "best") for n in (None, 10, 360)}
    assert len(names) == 3


def test_vanished_gradients_are_counted(cell: CellFolder, small_data: DataSet) -> None:
    """With the last layer times 1e6, most samples' cross-entropy has the gradient zero."""
    summary = attack(cell, small_data, PGD)
    record = Record.read(cell.record(summary["attacks"][0]["record"]))
    assert record.details["zero_gradients"].dtype == np.int32
    assert record.details["zero_gradients"].max() == 0

    model = api.load(cell.path, device="cpu")
    (*_, last) = [each for each in model.modules() if isinstance(each, torch.nn.Linear)]
    last.weight.mul_(1e6)
    last.bias.mul_(1e6)
    index = torch.arange(60)
    found = attack_batch(model, PGD, Samples(*small_data.test.batch(index), index, 0))
    right = found.clean == small_data.test.labels
    assert (found.details["zero_gradients"][right] > 0).float().mean() > 0.5


def test_adversarial_images_are_kept_on_request(cell: CellFolder, small_data: DataSet) -> None:
    keeping = PGD.model_copy(update={"keep": True})
    assert "keep" not in PGD.to_json()
    for number in (1, 2):
        attack(cell, small_data, keeping, shard=Shard(number, 2))
    join_cell(cell, EvaluationList(attacks=(keeping,)))
    path = cell.record(evaluation_name(keeping, "best"))
    record, kept = Record.read(path), load_file(images_path(path))
    assert record.adversarial is None
    assert kept["index"].tolist() == record.index.tolist()
    images, _ = small_data.test.batch(torch.arange(60))
    adversarial = torch.from_numpy(kept["adversarial"])
    assert (adversarial - images).abs().max() <= 0.15 + 1e-6
    model = api.load(cell.path, device="cpu")
    with torch.no_grad():
        classes = model(adversarial).argmax(1)
    assert classes.tolist() == record.prediction.tolist()
    attack(cell, small_data, PGD)
    plain = Record.read(cell.record(evaluation_name(PGD, "best")))
    assert plain.prediction.tolist() == record.prediction.tolist()
    assert not images_path(cell.record(evaluation_name(PGD, "best"))).exists()


def test_what_no_quota_bears_is_refused() -> None:
    keeping = PGD.model_copy(update={"keep": True})
    check_attack(keeping, "cifar10")
    with pytest.raises(ValueError, match=r"are 469 MiB .* at most 256 MiB .* samples = 5461"):
        check_attack(keeping.model_copy(update={"samples": None}), "tiny-imagenet")
