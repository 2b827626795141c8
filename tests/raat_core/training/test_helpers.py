"""Trainings that need other cells, and batches with a share of extra data."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import SMALL_CELL, TOY_DISTILLATION, small_cell
from outcomes import assert_equal_outcome, interrupted, run_with_stops, train
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.weights import read_weights
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet, Split
from raat_core.errors import UserError
from raat_core.files.checksums import read_arrays, read_json, write_arrays, write_sealed_json
from raat_core.interface.facts import CellFacts
from raat_core.training.extra import JoinedSplit, with_extra
from raat_core.training.loop import Training

STOPS = random.Random(15).sample(range(6, 14), 3)
"""Chances between two stops; an evaluation has five of them."""


@pytest.fixture(autouse=True)
def _distillation() -> None:
    api.load_plugin(str(TOY_DISTILLATION))


def student(**settings: Any) -> Cell:
    teacher = {"method": "pgd-at", "seed": 1, "checkpoint": "last"}
    return small_cell(method={"name": "distillation", "teacher": teacher, **settings})


def train_needs(cell: Cell, cells: Path, data: DataSet) -> dict[str, CellFolder]:
    return {
        setting: train(need.cell, cells / need.cell.name, data)
        for setting, need in cell.needs.items()
    }


def test_the_helper_is_used_remembered_and_resumed_with(
    tmp_path: Path, small_data: DataSet
) -> None:
    cell = student()
    helper = train_needs(cell, tmp_path, small_data)["teacher"]
    through = train(cell, tmp_path / cell.name, small_data)
    weights = read_weights(helper, "last").sha256
    expected = {"cell": helper.path.name, "checkpoint": "last", "weights_sha256": weights}
    assert read_manifest(through)["needs"] == {"teacher": expected}
    for every in STOPS:
        stopped, sessions = run_with_stops(cell, tmp_path / f"stopped-{every}", small_data, every)
        assert sessions > 1
        assert_equal_outcome(through, stopped)


def test_the_model_that_a_method_gets(tmp_path: Path, small_data: DataSet) -> None:
    cell = student(begin={"method": "trades"})
    folders = train_needs(cell, tmp_path, small_data)
    training = Training(cell, CellFolder(tmp_path / "cell"), small_data, torch.device("cpu"))
    teacher = training.trainee.method.needed["teacher"]
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    assert set(training.trainee.method.needed) == {"teacher", "begin"}
    training.trainee.method.start(training.trainee.model)
    begun = read_weights(folders["begin"], "best").arrays
    for name, tensor in training.trainee.model.state_dict().items():
        assert torch.equal(tensor, torch.from_numpy(begun[name]))
    training.run()
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(
            tensor, torch.from_numpy(read_weights(folders["teacher"], "last").arrays[name])
        )


def test_a_helper_that_is_not_trained_is_named_with_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = student()
    helper = cell.needs["teacher"].cell
    command = ["--plugin", str(TOY_DISTILLATION)]
    spec = json.dumps(cell.to_json())
    assert main(["train", spec, "--folder", str(tmp_path / "student"), *command]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: teacher needs cell {helper.name}, which is not trained; ")
    train_it = said.partition("python -m raat_core ")[2].split()
    assert train_it[-1] == str(tmp_path / helper.name)
    assert api.cell(json.loads(Path(train_it[1]).read_text())) == helper


def test_another_version_of_the_helper_is_refused(tmp_path: Path, small_data: DataSet) -> None:
    cell = student()
    helper = train_needs(cell, tmp_path, small_data)["teacher"]
    helper.path.rename(tmp_path / "aside")
    other = small_cell(seed=2)
    train(other, tmp_path / other.name, small_data).path.rename(helper.path)
    with pytest.raises(UserError, match=rf"teacher needs cell {helper.path.name}, but what lies"):
        train(cell, tmp_path / cell.name, small_data)


def test_other_weights_of_a_helper_are_not_resumed_with(
    tmp_path: Path, small_data: DataSet
) -> None:
    cell = student()
    helper = train_needs(cell, tmp_path, small_data)["teacher"]
    interrupted(cell, tmp_path / cell.name, small_data, after=4)
    path = helper.weights("last")
    arrays, metadata, before = read_arrays(path)
    changed = {name: array + (array.dtype.kind == "f") for name, array in arrays.items()}
    after = write_arrays(path, changed, metadata)
    manifest = helper.manifest.read_bytes()
    text = json.dumps(read_json(helper.manifest)).replace(before, after)
    write_sealed_json(helper.manifest, json.loads(text))
    with pytest.raises(UserError, match=r"teacher: the last weights .* began with") as caught:
        train(cell, tmp_path / cell.name, small_data)
    assert "\n" not in str(caught.value)
    write_arrays(path, arrays, metadata)
    helper.manifest.write_bytes(manifest)
    train(cell, tmp_path / cell.name, small_data)


# Extra data


def facts(train_size: int, extra_size: int, share: float = 0.25) -> CellFacts:
    cell = small_cell(extra_data={"dataset": "digits", "share": share})
    return cell.facts(train_size, extra_size)


def test_every_batch_keeps_the_share_and_extra_samples_wrap_around() -> None:
    some = facts(136, 20)
    seen: list[Tensor] = []
    for epoch in range(4):
        order = torch.randperm(136)
        batches = with_extra(torch.split(order, 24), some, epoch)
        assert len(batches) == some.steps_per_epoch == 6
        assert [len(batch) for batch in batches] == [32] * 5 + [16 + 5]
        assert torch.equal(torch.cat([batch[batch < 136] for batch in batches]), order)
        for batch in batches:
            extra = batch[batch >= 136]
            assert torch.equal(batch[-len(extra) :], extra)  # They stand last.
            seen.append(extra - 136)
    drawn = torch.cat(seen)
    passes = drawn[: len(drawn) // 20 * 20].view(-1, 20)
    assert len(passes) == 9
    for one in passes:
        assert sorted(one.tolist()) == list(range(20))
    assert len({tuple(one.tolist()) for one in passes}) == 9


def test_joined_images_are_those_of_both(small_data: DataSet) -> None:
    extra = Split((small_data.test.images * 3).to(torch.uint8), small_data.test.labels, 48)
    joined = JoinedSplit(small_data.train, extra)
    indices = torch.tensor([3, 136 + 59, 0, 135, 136])
    images, labels = joined.batch(indices)
    for place, index in enumerate(indices.tolist()):
        split, inner = (small_data.train, index) if index < 136 else (extra, index - 136)
        image, label = split.batch(torch.tensor([inner]))
        assert torch.equal(images[place], image[0])
        assert labels[place] == label[0]
    assert images.is_contiguous(memory_format=torch.channels_last)


def semi_supervised(labels: Any = "given") -> Cell:
    return small_cell(extra_data={"dataset": "digits", "share": 0.25, "labels": labels})


def through_and_stopped(cell: Cell, data: DataSet, extra: DataSet, cells: Path, every: int) -> None:
    through = train(cell, cells / f"through-{every}", data, extra=extra)
    stopped, sessions = run_with_stops(cell, cells / f"stopped-{every}", data, every, extra=extra)
    assert sessions > 1
    assert_equal_outcome(through, stopped)


@pytest.fixture
def other_data(small_data: DataSet) -> DataSet:
    """The test images as a data set of its own, with labels that nothing could learn."""
    images = replace(small_data.test, labels=torch.zeros_like(small_data.test.labels))
    return DataSet(images, images, small_data.classes, sha256="0" * 64)


def test_extra_data_is_resumed(tmp_path: Path, small_data: DataSet, other_data: DataSet) -> None:
    for every in STOPS:
        through_and_stopped(semi_supervised(), small_data, other_data, tmp_path, every)
    manifest = read_manifest(CellFolder(tmp_path / f"through-{STOPS[0]}"))
    assert manifest["extra_data_sha256"] == "0" * 64
    assert "needs" not in manifest


def test_pseudo_labels_are_what_the_cell_says(
    tmp_path: Path, small_data: DataSet, other_data: DataSet
) -> None:
    recipe = {**SMALL_CELL["recipe"], "epochs": 8, "learning_rate": 0.05}
    cell = semi_supervised({"method": "pgd-at", "recipe": recipe})
    helper = train_needs(cell, tmp_path, small_data)["extra_data.labels"]
    training = Training(
        cell, CellFolder(tmp_path / "cell"), small_data, torch.device("cpu"), extra=other_data
    )
    model = api.load(helper.path, device="cpu")
    images, _ = other_data.train.batch(torch.arange(60))
    images_there, labels = training.train_split.batch(torch.arange(136, 196))
    assert torch.equal(images, images_there)
    assert torch.equal(labels, model(images).argmax(1))
    assert len(set(labels.tolist())) > 1
    assert training.trainee.method.needed == {}
    step = training.trainee.draw(training.train_split, torch.tensor([1, 140, 2]), 0, 0)
    assert step.extra.tolist() == [False, True, False]
    through_and_stopped(cell, small_data, other_data, tmp_path, STOPS[0])
    found = read_manifest(CellFolder(tmp_path / f"through-{STOPS[0]}"))
    assert found["needs"]["extra_data.labels"]["cell"] == helper.path.name


def test_without_extra_data_no_sample_is_extra(tmp_path: Path, small_data: DataSet) -> None:
    training = Training(small_cell(), CellFolder(tmp_path), small_data, torch.device("cpu"))
    step = training.trainee.draw(training.train_split, torch.arange(4), 0, 0)
    assert not step.extra.any()


def test_extra_images_of_another_shape_are_refused(tmp_path: Path, small_data: DataSet) -> None:
    train_split = small_data.train
    small = replace(small_data, train=replace(train_split, images=train_split.images[:, :, :4]))
    with pytest.raises(UserError, match=r"extra_data: 136 training images of shape \(1, 4, 8\)"):
        train(semi_supervised(), tmp_path / "cell", small_data, extra=small)


def test_extra_data_is_loaded_by_its_name(tmp_path: Path, small_data: DataSet) -> None:
    cell = small_cell(
        extra_data={"dataset": "digits"},
        recipe={**SMALL_CELL["recipe"], "epochs": 1, "decay_epochs": []},
    )
    folder = train(cell, tmp_path / "cell", small_data)
    assert read_manifest(folder)["extra_data_sha256"] == api.load_data_set("digits").sha256
