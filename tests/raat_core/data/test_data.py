"""Data sets from their archives to tensors: what is read, what is refused, who makes it."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import (
    CIFAR_CLASSES,
    PER_CLASS,
    WNIDS,
    accept_zip,
    go_offline,
    make_cifar,
    make_image_folder,
    make_tiny_imagenet,
    resize_data_set,
    zip_tiny_imagenet,
)
from PIL import Image
from torchvision import datasets, transforms
from torchvision.datasets import utils

from conftest import SMALL_CELL
from raat_core import api
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.commands.cli import main
from raat_core.data import cache, tiny_imagenet
from raat_core.data.dataset import DataSet, Split
from raat_core.data.image_folder import describe_folder
from raat_core.errors import Interrupted, UserError
from raat_core.files.checksums import checksum_of, read_arrays

PREPARED = ["cifar10", "cifar100", "tiny-imagenet"]
SAMPLES = os.environ.get("RAAT_SAMPLE_IMAGES")
"""A folder of `cifar10-exact/{train,test}/<class>/` and `tiny-imagenet/tiny-imagenet-200/`."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches for the network."""
    go_offline(monkeypatch)


def make(monkeypatch: pytest.MonkeyPatch, name: str, root: Path) -> Path:
    """A small archive of a data set."""
    if name == "tiny-imagenet":
        folder = make_tiny_imagenet(monkeypatch, root / "unpacked")
        return zip_tiny_imagenet(monkeypatch, folder, root)
    return make_cifar(monkeypatch, name, root)


def cache_file(root: Path, name: str) -> Path:
    return root / "cache" / name / "images.safetensors"


def equal(split: Split, expected: Any) -> bool:
    """Whether a split is, pixel for pixel and label for label, what torchvision reads."""
    pixels = torch.stack([transforms.functional.pil_to_tensor(image) for image, _ in expected])
    labels = torch.tensor([label for _, label in expected])
    return torch.equal(split.images, pixels) and torch.equal(split.labels, labels)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar_is_what_torchvision_reads(
    name: str, unpacked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_cifar(monkeypatch, name, tmp_path)
    kind: Any = CIFAR_CLASSES[name]
    reference = tmp_path if unpacked else tmp_path / "reference"
    utils.extract_archive(str(archive), str(reference))
    if unpacked:
        archive.unlink()
    data = api.load_data_set(name, tmp_path)
    assert equal(data.train, kind(reference, train=True))
    assert equal(data.test, kind(reference, train=False))
    assert data.classes == (100 if name == "cifar100" else 10)
    assert data.train.images.dtype == torch.uint8
    assert not list((tmp_path / "cache" / name).glob("unpacked-*"))


@pytest.mark.parametrize("unpacked", [False, True])
def test_tiny_imagenet_is_read_in_its_original_layout(
    unpacked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_imagenet(monkeypatch, tmp_path if unpacked else tmp_path / "elsewhere")
    if not unpacked:
        zip_tiny_imagenet(monkeypatch, folder, tmp_path)
    data = api.load_data_set("tiny-imagenet", tmp_path)
    assert equal(data.train, datasets.ImageFolder(str(folder / "train")))
    rows = [r.split("\t") for r in (folder / "val/val_annotations.txt").read_text().splitlines()]
    expected = [
        (Image.open(folder / "val/images" / row[0]).convert("RGB"), sorted(WNIDS).index(row[1]))
        for row in rows
    ]
    assert equal(data.test, expected)


@pytest.mark.parametrize("name", PREPARED)
def test_without_files_or_network_one_message_says_what_to_put_where(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", name, "--data", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    files = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
    file = files.get(name, "tiny-imagenet-200.zip")
    assert message.count("\n") == 1
    assert message.startswith(f"error: data set {name}: {tmp_path / file} is missing")
    assert f"/{file} (" in message
    assert "Network is unreachable" in message


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_archive_is_found_before_training(
    name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make(monkeypatch, name, tmp_path)
    data = bytearray(archive.read_bytes())
    if how == "truncated":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    said = "is incomplete" if how == "truncated" else "is damaged or another file"
    with pytest.raises(UserError, match=said):
        api.load_data_set(name, tmp_path)
    assert not cache_file(tmp_path, name).exists()


def test_an_unpacked_folder_that_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_cifar(monkeypatch, "cifar10", tmp_path)
    utils.extract_archive(str(archive), str(tmp_path))
    archive.unlink()
    batch = tmp_path / "cifar-10-batches-py/data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(UserError, match="cifar-10-batches-py is there, but not whole"):
        api.load_data_set("cifar10", tmp_path)


TINY_DAMAGES = {
    "train/n01443537/images/n01443537_3.JPEG": (None, "5 images of n01443537, not 6"),
    "train/n01443537/images/n01443537_0.JPEG": (b"\xff\xd8", "n01443537_0.JPEG: is not a whole"),
    "val/val_annotations.txt": (None, "val_annotations.txt is missing"),
    "val/images/val_1.JPEG": (None, "val_1.JPEG is missing"),
    "wnids.txt": (b"n01443537\nn02124075\n", "2 classes, not 3"),
}


@pytest.mark.parametrize(("file", "damage"), TINY_DAMAGES.items(), ids=list(TINY_DAMAGES))
def test_an_incomplete_tiny_imagenet_is_named(
    file: str, damage: tuple[bytes | None, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, said = damage
    folder = make_tiny_imagenet(monkeypatch, tmp_path)
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=said):
        api.load_data_set("tiny-imagenet", tmp_path)
    (tmp_path / "zip").mkdir()
    zip_tiny_imagenet(monkeypatch, folder, tmp_path / "zip")
    with pytest.raises(UserError, match=said):
        api.load_data_set("tiny-imagenet", tmp_path / "zip")


@pytest.mark.parametrize(
    "member", ["../outside.txt", "/outside.txt", "tiny-imagenet-200/../../outside.txt", "..\\x"]
)
def test_a_zip_with_a_member_that_leaves_it_is_refused(
    member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_imagenet(monkeypatch, tmp_path / "elsewhere")
    zip_tiny_imagenet(monkeypatch, folder, tmp_path / "root", {member: b"x"})
    with pytest.raises(UserError, match="is not let out of it"):
        api.load_data_set("tiny-imagenet", tmp_path / "root")
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_zip_with_a_link_or_too_much_in_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_imagenet(monkeypatch, tmp_path / "elsewhere")
    path = zip_tiny_imagenet(monkeypatch, folder, tmp_path)
    monkeypatch.setattr(tiny_imagenet, "_LARGEST_TOTAL", 1000)
    with pytest.raises(UserError, match="more than Tiny-ImageNet"):
        api.load_data_set("tiny-imagenet", tmp_path)
    monkeypatch.undo()
    link = zipfile.ZipInfo("tiny-imagenet-200/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    accept_zip(monkeypatch, path)
    with pytest.raises(UserError, match="link' is not let out of it"):
        api.load_data_set("tiny-imagenet", tmp_path)


def test_the_cache_is_mapped_and_nothing_that_a_job_writes_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar(monkeypatch, "cifar10", tmp_path)
    data = api.load_data_set("cifar10", tmp_path)
    path = cache_file(tmp_path, "cifar10")
    before = path.read_bytes()
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]
    assert maps
    assert all(line.split()[1].endswith("p") for line in maps), "private: copied when written"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    data.train.images.add_(1)
    data.train.labels.zero_()
    assert path.read_bytes() == before
    assert not torch.equal(api.load_data_set("cifar10", tmp_path).train.images, data.train.images)
    arrays, metadata, _ = read_arrays(path)
    assert metadata["classes"] == [f"class {label}" for label in range(10)]
    assert arrays["train_images"].shape == (100, 3, 32, 32)


def test_the_cache_is_hashed_once_per_change_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar(monkeypatch, "cifar10", tmp_path)
    hashed: list[object] = []

    def counting(arrays: Any, metadata: Any) -> str:
        hashed.append(metadata)
        return checksum_of(arrays, metadata)

    monkeypatch.setattr(cache, "checksum_of", counting)
    for expected in (1, 1):
        api.load_data_set("cifar10", tmp_path)
        assert len(hashed) == expected
    cache_file(tmp_path, "cifar10").touch()
    for expected in (2, 2):
        api.load_data_set("cifar10", tmp_path)
        assert len(hashed) == expected


@pytest.mark.parametrize("how", ["flipped", "truncated"])
def test_a_damaged_cache_is_made_again_or_named(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = make_cifar(monkeypatch, "cifar10", tmp_path)
    whole = api.load_data_set("cifar10", tmp_path)
    path = cache_file(tmp_path, "cifar10")

    def damage() -> None:
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.chmod(0o644)
        path.unlink()
        path.write_bytes(data if how == "flipped" else data[:-1000])

    damage()
    again = api.load_data_set("cifar10", tmp_path)
    assert again.sha256 == whole.sha256
    assert torch.equal(again.train.images, whole.train.images)
    said = "is damaged" if how == "flipped" else "is truncated"
    assert f"{path} {said}" in capsys.readouterr().out
    damage()
    archive.unlink()
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz is missing"):
        api.load_data_set("cifar10", tmp_path)


def test_a_cache_of_another_data_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar(monkeypatch, "cifar10", tmp_path)
    api.load_data_set("cifar10", tmp_path)
    resize_data_set(monkeypatch, "cifar10", 50_000, 10_000)
    with pytest.raises(UserError, match=r"holds train images \(100, 3, 32, 32\)"):
        api.load_data_set("cifar10", tmp_path)


def test_a_cache_that_others_own_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar(monkeypatch, "cifar10", tmp_path)
    api.load_data_set("cifar10", tmp_path)
    folder = cache_file(tmp_path, "cifar10").parent
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            path.unlink()
    folder.chmod(0o555)
    try:
        assert len(api.load_data_set("cifar10", tmp_path).test) == 20
    finally:
        folder.chmod(0o755)


def _load_and_count(root: str, gate: Any, made: Any, results: Any) -> None:
    """In a process of its own, made by fork: the small archive's checksums are known to it."""
    write = cache.write_cache

    def counting(*arguments: Any) -> Path:
        with made.get_lock():
            made.value += 1
        return write(*arguments)

    cache.write_cache = counting  # type: ignore[assignment]
    gate.wait()
    results.put(api.load_data_set("tiny-imagenet", Path(root)).sha256)


def test_processes_that_come_at_once_make_the_cache_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(monkeypatch, "tiny-imagenet", tmp_path)
    context = multiprocessing.get_context("fork")
    gate, made, results = context.Barrier(3), context.Value("i", 0), context.Queue()
    arguments = (str(tmp_path), gate, made, results)
    processes = [context.Process(target=_load_and_count, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    assert len({results.get(timeout=60) for _ in processes}) == 1
    for process in processes:
        process.join()
    assert made.value == 1
    assert [
        path.name for path in cache_file(tmp_path, "tiny-imagenet").parent.glob("*.partial")
    ] == []


def test_a_stop_while_the_cache_is_made_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(monkeypatch, "tiny-imagenet", tmp_path)
    monkeypatch.setattr(cache, "_CHECK_EVERY", 1)

    def stop() -> None:
        raise Interrupted(15)

    with pytest.raises(Interrupted):
        api.load_data_set("tiny-imagenet", tmp_path, stop)
    assert {path.name for path in (tmp_path / "cache/tiny-imagenet").iterdir()} == {".lock"}
    assert len(api.load_data_set("tiny-imagenet", tmp_path).train) == PER_CLASS * len(WNIDS)


def test_the_data_command_and_a_cell_on_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = make_cifar(monkeypatch, "cifar10", tmp_path / "data")
    summary = tmp_path / "cifar10.json"
    monkeypatch.setenv("RAAT_DATA", str(tmp_path / "data"))
    assert main(["data", "cifar10", "--summary", str(summary)]) == 0
    said = capsys.readouterr().out
    assert "cifar10: 100 training and 20 test images of 3 × 32 × 32, 10 classes" in said
    sha256 = json.loads(summary.read_text())["sha256"]
    assert sha256 in said
    archive.unlink()
    spec = {**SMALL_CELL, "dataset": "cifar10", "selection": {"steps": 1}}
    folder = api.train(api.cell(spec), tmp_path / "cell")
    assert read_manifest(CellFolder(folder))["data_sha256"] == sha256
    assert main(["data", "cifar"]) == 2
    assert "did you mean 'cifar10'?" in capsys.readouterr().err
    assert main(["data", "digits"]) == 0
    assert "1,437 training and 360 test images" in capsys.readouterr().out


def load_folder(name: str, path: Path, size: int, root: Path) -> DataSet:
    return api.load_data_set(describe_folder(name, path, size, root).register(), root)


def test_an_image_folder_is_what_torchvision_reads(tmp_path: Path) -> None:
    path = make_image_folder(tmp_path / "images")
    Image.fromarray(np.full((12, 12), 7, np.uint8)).save(path / "train/ant/grey.png")
    (path / "train/ant/notes.txt").write_text("not an image")
    (path / "train/ant/deeper").mkdir()
    (path / "train/ant/0.png").rename(path / "train/ant/deeper/0.png")
    data = load_folder("mine", path, 12, tmp_path / "data")
    assert equal(data.train, datasets.ImageFolder(str(path / "train")))
    assert equal(data.test, datasets.ImageFolder(str(path / "test")))


def test_images_of_another_size_are_scaled_and_cropped(tmp_path: Path) -> None:
    path = make_image_folder(tmp_path / "images", size=(24, 17))
    data = load_folder("mine", path, 8, tmp_path / "data")
    resize = transforms.Compose(
        [transforms.Resize(8, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(8)]
    )
    assert equal(data.test, datasets.ImageFolder(str(path / "test"), resize))


def test_what_an_image_folder_is_depends_on_its_images_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    first = make_image_folder(tmp_path / "a")
    described = describe_folder("mine", first, 12, root)
    assert (described.classes, described.train_size, described.test_size) == (2, 16, 8)
    other = describe_folder("mine", make_image_folder(tmp_path / "b", seed=1), 12, root)
    copy = describe_folder("mine", make_image_folder(tmp_path / "c"), 12, root)
    assert copy == described
    assert other != described
    keys = [folder.register() for folder in (described, other)]
    assert len({api.load_data_set(key, root).sha256 for key in keys}) == 2
    (first / "train/ant/7.png").unlink()
    assert describe_folder("mine", first, 12, root).train_size == 15
    assert api.load_data_set(keys[0], root).sha256 == described.sha256, "running jobs keep theirs"


def test_a_known_image_folder_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_image_folder(tmp_path / "images")
    described = describe_folder("mine", path, 12, tmp_path)
    monkeypatch.setattr(cache, "write_cache", None)
    assert describe_folder("mine", path, 12, tmp_path) == described
    path.rename(tmp_path / "gone")
    assert describe_folder("mine", path, 12, tmp_path) == described


def _rename_class(path: Path) -> None:
    (path / "test/ant").rename(path / "test/bee")


def _empty_class(path: Path) -> None:
    for image in (path / "test/ant").iterdir():
        image.unlink()


def _damage_image(path: Path) -> None:
    image = path / "train/zebra/3.png"
    image.write_bytes(image.read_bytes()[:-40])


def _deep_pixels(path: Path) -> None:
    Image.fromarray(np.full((12, 12), 40_000, np.uint16)).save(path / "train/zebra/3.png")


def _lose_split(path: Path) -> None:
    (path / "test").rename(path / "validation")


BAD_FOLDERS = [
    (_rename_class, "test has no class 'ant'"),
    (_empty_class, "ant has no image"),
    (_damage_image, "3.png: is not a whole image"),
    (_deep_pixels, "not 8 bits a channel"),
    (_lose_split, "the layout is train/<class>"),
]


@pytest.mark.parametrize(("damage", "said"), BAD_FOLDERS)
def test_bad_image_folders_get_one_clear_line(damage: Any, said: str, tmp_path: Path) -> None:
    path = make_image_folder(tmp_path / "images")
    damage(path)
    with pytest.raises(UserError, match=said) as caught:
        describe_folder("mine", path, 12, tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_a_cell_on_an_image_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "data", tmp_path / "cell"
    images = str(make_image_folder(tmp_path / "images"))
    command = ["data", "mine", "--images", images, "--image-size", "12", "--data", str(root)]
    assert main(command) == 0
    spec = {**SMALL_CELL, **json.loads(capsys.readouterr().out)}
    cell = api.cell(spec)
    assert api.cell(cell.to_json()) == cell
    assert cell.name.startswith("mine-")
    without = {key: value for key, value in spec.items() if key != "image_folder"}
    with pytest.raises(UserError, match="image_folder: is missing"):
        api.cell(without)
    with pytest.raises(UserError, match=f"must be '{cell.dataset}'"):
        api.cell({**spec, "dataset": "digits"})
    api.train(cell, folder, data_root=root)
    assert read_manifest(CellFolder(folder))["data_sha256"] == spec["image_folder"]["sha256"]
    with pytest.raises(UserError, match=r"then make it: python -m raat_core data mine --images"):
        api.attack(folder, data_root=tmp_path / "elsewhere")
    for name in ("cifar10", "a b"):
        assert main(["data", name, *command[2:]]) == 2
        assert "a name must be" in capsys.readouterr().err
    assert main(["data", "mine", "--images", images]) == 2
    assert "go together" in capsys.readouterr().err


@pytest.mark.skipif(not SAMPLES, reason="RAAT_SAMPLE_IMAGES names no folder of real images")
def test_real_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = Path(SAMPLES or "")
    data = load_folder("cifar10-exact", samples / "cifar10-exact", 32, tmp_path)
    assert equal(data.test, datasets.ImageFolder(str(samples / "cifar10-exact/test")))
    source = samples / "tiny-imagenet" / tiny_imagenet.FOLDER
    folder = tmp_path / tiny_imagenet.FOLDER
    wnids = (source / "wnids.txt").read_text().split()[::20]
    for part in ("train", "val"):
        (folder / part).mkdir(parents=True)
    for wnid in wnids:
        (folder / "train" / wnid).symlink_to(source / "train" / wnid)
    (folder / "val/images").symlink_to(source / "val/images")
    lines = (source / "val/val_annotations.txt").read_text().splitlines(keepends=True)
    chosen = [line for line in lines if line.split("\t")[1] in wnids]
    (folder / "val/val_annotations.txt").write_text("".join(chosen))
    (folder / "wnids.txt").write_text("\n".join(wnids))
    found = len(list((folder / "train").glob("*/images/*.JPEG")))
    resize_data_set(monkeypatch, "tiny-imagenet", found, 50 * len(wnids), classes=len(wnids))
    tiny = api.load_data_set("tiny-imagenet", tmp_path)
    assert equal(tiny.train, datasets.ImageFolder(str(folder / "train")))
    assert torch.bincount(tiny.test.labels).tolist() == [50] * len(wnids)
