"""An archive beside the folder that it unpacks to: which of the two is used, and what is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from data_files import (
    CIFAR_CLASSES,
    accept_zip,
    go_offline,
    make_cifar,
    make_tiny_imagenet,
    zip_tiny_imagenet,
)
from PIL import Image
from torchvision.datasets import utils

from raat_core import api
from raat_core.data import cache, tiny_imagenet
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError

ALL = ["cifar10", "cifar100", "tiny-imagenet"]
NEEDED = {"cifar10": "test_batch", "cifar100": "test", "tiny-imagenet": "wnids.txt"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches for the network."""
    go_offline(monkeypatch)


def both(patch: pytest.MonkeyPatch, name: str, root: Path) -> tuple[Path, Path]:
    """The archive and the folder that it unpacks to, beside each other."""
    if name == "tiny-imagenet":
        folder = make_tiny_imagenet(patch, root)
        return zip_tiny_imagenet(patch, folder, root), folder
    archive = make_cifar(patch, name, root)
    utils.extract_archive(str(archive), str(root))
    return archive, root / CIFAR_CLASSES[name].base_folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def equal(one: DataSet, other: DataSet) -> bool:
    pairs = (one.train, other.train), (one.test, other.test)
    return all(torch.equal(a.images, b.images) for a, b in pairs) and one.sha256 == other.sha256


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("damage", [cut, flip])
def test_a_whole_folder_beside_a_broken_archive_is_used(
    name: str,
    damage: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive, folder = both(monkeypatch, name, tmp_path / "a")
    (tmp_path / "b").mkdir()
    shutil.copy(archive, tmp_path / "b")
    damage(archive)  # type: ignore[operator]
    found = api.load_data_set(name, tmp_path / "a")
    said = "is incomplete" if damage is cut else "is damaged or another file"
    captured = capsys.readouterr()
    assert f"data set {name}: {archive} {said}" in captured.err
    assert f"{folder} is used in its place" in captured.err
    assert "downloading" not in captured.out
    assert equal(found, api.load_data_set(name, tmp_path / "b"))


@pytest.mark.parametrize("name", ALL)
def test_a_whole_archive_beside_a_broken_folder_is_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = both(monkeypatch, name, tmp_path)
    (folder / NEEDED[name]).unlink()
    assert len(api.load_data_set(name, tmp_path).test) > 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ALL)
def test_if_both_are_broken_both_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, folder = both(monkeypatch, name, tmp_path)
    cut(archive)
    (folder / NEEDED[name]).unlink()
    with pytest.raises(UserError) as caught:
        api.load_data_set(name, tmp_path)
    message = str(caught.value)
    assert f"data set {name}: {archive} is incomplete" in message
    assert str(folder) in message
    assert NEEDED[name] in message
    assert "or its folder" not in message, "it is there"
    assert "\n" not in message


def test_all_damaged_images_of_a_folder_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_imagenet(monkeypatch, tmp_path)
    damaged = [*sorted(folder.glob("train/*/images/*_0.JPEG")), folder / "val/images/val_3.JPEG"]
    for path in damaged:
        path.write_bytes(b"")
    (folder / "val/images/val_4.JPEG").unlink()
    with pytest.raises(UserError) as caught:
        api.load_data_set("tiny-imagenet", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"data set tiny-imagenet: {folder}: 5 images cannot be used:"
    for path in damaged:
        assert f"data set tiny-imagenet: {path}: is empty" in lines
    assert f"data set tiny-imagenet: {folder}/val/images/val_4.JPEG is missing" in lines


def test_hidden_files_of_another_system_are_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_imagenet(monkeypatch, tmp_path)
    for path in list(folder.rglob("*.JPEG")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert len(api.load_data_set("tiny-imagenet", tmp_path).train) == 18


def encode_anew(folder: Path, quality: int) -> None:
    """The same pictures, other pixels."""
    for path in folder.glob("train/*/images/*.JPEG"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".tmp"), format="JPEG", quality=quality)
        path.with_suffix(".tmp").replace(path)
    for path in folder.glob("train/*/images"):
        os.utime(path, (1, quality))


def test_a_cache_of_a_folder_that_was_changed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_tiny_imagenet(monkeypatch, tmp_path)
    first = api.load_data_set("tiny-imagenet", tmp_path)
    monkeypatch.setattr(cache, "write_cache", None)
    assert equal(first, api.load_data_set("tiny-imagenet", tmp_path)), "not made again"
    monkeypatch.undo()
    go_offline(monkeypatch)
    folder = make_again(monkeypatch, tmp_path)
    encode_anew(folder, 20)
    second = api.load_data_set("tiny-imagenet", tmp_path)
    assert second.sha256 != first.sha256
    assert "was made of other files than there are now" in capsys.readouterr().out
    shutil.rmtree(folder / "val")
    assert equal(second, api.load_data_set("tiny-imagenet", tmp_path)), "half a folder is no other"
    assert "val_annotations.txt is missing" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert equal(second, api.load_data_set("tiny-imagenet", tmp_path))
    assert capsys.readouterr() == ("", "")


def make_again(patch: pytest.MonkeyPatch, root: Path) -> Path:
    """With the catalogue's sizes, which were put back."""
    shutil.rmtree(root / tiny_imagenet.FOLDER)
    return make_tiny_imagenet(patch, root)


def test_a_cache_of_a_folder_gives_way_to_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_imagenet(monkeypatch, tmp_path)
    archive = zip_tiny_imagenet(monkeypatch, folder, tmp_path / "elsewhere")
    encode_anew(folder, 20)
    of_folder = api.load_data_set("tiny-imagenet", tmp_path)
    shutil.copy(archive, tmp_path)
    accept_zip(monkeypatch, archive)
    of_archive = api.load_data_set("tiny-imagenet", tmp_path)
    assert of_archive.sha256 != of_folder.sha256
    encode_anew(folder, 30)
    assert equal(of_archive, api.load_data_set("tiny-imagenet", tmp_path)), (
        "the folder says nothing"
    )
