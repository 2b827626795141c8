"""Small data sets in the formats that the real ones come in."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import urllib.error
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets
from torchvision.datasets import utils

from raat_core.cells.catalogue import DATA_SETS
from raat_core.data import cifar, tiny_imagenet


def go_offline(patch: pytest.MonkeyPatch) -> None:
    """Let torchvision find no network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Network is unreachable")

    patch.setattr(utils.urllib.request, "urlopen", refuse)


CIFAR_CLASSES = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


def resize_data_set(
    patch: pytest.MonkeyPatch, name: str, train: int, test: int, classes: int | None = None
) -> None:
    """Let the catalogue say that a data set is this small."""
    info = DATA_SETS[name]
    small = replace(info, train_size=train, test_size=test, classes=classes or info.classes)
    patch.setitem(DATA_SETS, name, small)


def make_cifar(patch: pytest.MonkeyPatch, name: str, root: Path, batch: int = 20) -> Path:
    """An archive as Krizhevsky's, of `batch` images a file; torchvision is told its checksums."""
    kind: Any = CIFAR_CLASSES[name]
    draws = np.random.default_rng(0)
    fine = name == "cifar100"
    classes = 100 if fine else 10
    files: dict[str, bytes] = {}

    def add(file: str, content: dict[str, Any]) -> str:
        # The real files were pickled by Python 2: their strings are bytes in protocol 2.
        data = pickle.dumps(content, protocol=2)
        files[f"{kind.base_folder}/{file}"] = data
        return hashlib.md5(data).hexdigest()

    def split(names: list[list[str]]) -> list[list[str]]:
        checked = []
        for number, (file, _) in enumerate(names):
            labels = [int(label) for label in draws.integers(classes, size=batch)]
            content: dict[str, Any] = {
                "data": draws.integers(256, size=(batch, 3072), dtype=np.uint8),
                "batch_label": f"batch {number + 1} of {len(names)}",
                "filenames": [f"image_{i}.png" for i in range(batch)],
            }
            if fine:
                content |= {"fine_labels": labels, "coarse_labels": [i // 5 for i in labels]}
            else:
                content |= {"labels": labels}
            checked.append([file, add(file, content)])
        return checked

    patch.setattr(kind, "train_list", split(kind.train_list))
    patch.setattr(kind, "test_list", split(kind.test_list))
    names = {kind.meta["key"]: [f"class {label}" for label in range(classes)]}
    patch.setattr(kind, "meta", {**kind.meta, "md5": add(kind.meta["filename"], names)})
    files[f"{kind.base_folder}/readme.html"] = b"<html></html>"
    root.mkdir(parents=True, exist_ok=True)
    path: Path = root / kind.filename
    with tarfile.open(path, "w:gz") as tar:
        for file, data in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    content = path.read_bytes()
    patch.setattr(kind, "tgz_md5", hashlib.md5(content).hexdigest())
    patch.setitem(cifar._SIZES, name, len(content))
    resize_data_set(patch, name, len(kind.train_list) * batch, batch)
    return path


WNIDS = ("n02124075", "n01443537", "n04067472")
PER_CLASS, TEST_PER_CLASS = 6, 2


def make_tiny_imagenet(patch: pytest.MonkeyPatch, root: Path) -> Path:
    """Three classes in the original layout, unpacked; some images are grey, as in the real one."""
    draws = np.random.default_rng(0)
    folder = root / tiny_imagenet.FOLDER

    def picture(path: Path, grey: bool) -> None:
        coarse = draws.integers(256, size=(8, 8) if grey else (8, 8, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((64, 64)).save(path, format="JPEG")

    for wnid in WNIDS:
        for number in range(PER_CLASS):
            picture(folder / f"train/{wnid}/images/{wnid}_{number * 3}.JPEG", number == 1)
        (folder / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    lines = []
    for number in range(TEST_PER_CLASS * len(WNIDS)):
        picture(folder / f"val/images/val_{number}.JPEG", number == 0)
        lines.append(f"val_{number}.JPEG\t{WNIDS[(number * 2) % len(WNIDS)]}\t0\t32\t44\t62\n")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    picture(folder / "test/images/test_0.JPEG", False)
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    (folder / "words.txt").write_text("n02124075\tEgyptian cat\n")
    sizes = PER_CLASS * len(WNIDS), TEST_PER_CLASS * len(WNIDS)
    resize_data_set(patch, "tiny-imagenet", *sizes, classes=len(WNIDS))
    return folder


def zip_tiny_imagenet(
    patch: pytest.MonkeyPatch, folder: Path, root: Path, more: dict[str, bytes] | None = None
) -> Path:
    """The archive of a folder, and `more` members; the loader is told its checksums."""
    path = root / tiny_imagenet.ARCHIVE.filename
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    accept_zip(patch, path)
    return path


def accept_zip(patch: pytest.MonkeyPatch, path: Path) -> None:
    """Tell the loader that this is Tiny-ImageNet's archive."""
    data = path.read_bytes()
    known = replace(
        tiny_imagenet.ARCHIVE,
        size=len(data),
        md5=hashlib.md5(data).hexdigest(),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    patch.setattr(tiny_imagenet, "ARCHIVE", known)


def make_image_folder(path: Path, *, seed: int = 0, size: tuple[int, int] = (12, 12)) -> Path:
    """Two classes of eight training and four test images."""
    draws = np.random.default_rng(seed)
    for split, count in (("train", 8), ("test", 4)):
        for kind in ("zebra", "ant"):
            folder = path / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(256, size=(*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return path
