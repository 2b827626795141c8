"""A folder of images of your own: train/<class>/..., test/<class>/..., decoded once.

Two folders of different images are different data sets, whatever they are called: the checksum of
pixels and labels is part of a cell's spec. It is known from when the cache is made, which is
before cells are planned; of every folder the cache keeps a page that says what was found in it.
Describing a folder needs no torch.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.image_folder import ImageFolder, check_folder_name
from raat_core.data.cache import Samples, Source, locked, read_cache, write_cache
from raat_core.data.images import decode
from raat_core.errors import UserError
from raat_core.files.checksums import read_json, write_json
from raat_core.validation import parse

if TYPE_CHECKING:
    from raat_core.data.dataset import DataSet

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
LARGEST_FILE = 500_000_000
"""Bytes of an image file."""
_FILE = "images-{sha256:.12}.safetensors"


def describe_folder(
    name: str,
    path: Path,
    image_size: int,
    root: Path,
    check_stop: Callable[[], None] = lambda: None,
) -> ImageFolder:
    """What an image folder is; its images are decoded into the cache first if they are not yet.

    They are read again when a file was added to or removed from one of its folders. (Who edits an
    image in place touches its folder.) A folder that is gone is known from the cache.

    Args:
        name: of the data set.
        path: the folder.
        image_size: height and width that images are scaled to, see `decode`.
        root: where data lies.
        check_stop: called while images are decoded; may raise to stop.

    Raises:
        UserError: the folder has another layout, or an image is damaged.
    """
    try:
        check_folder_name(name)
    except ValueError as error:
        raise UserError(f"data set {name!r}: {error}") from None
    cache = root / "cache" / name
    identity = hashlib.sha256(f"{path.absolute()}|{image_size}".encode()).hexdigest()[:12]
    page = cache / f"folder-{identity}.json"
    known = _known(page, path)
    if known is None:
        with locked(cache, check_stop):
            known = _known(page, path) or _prepare(name, path, image_size, cache, page, check_stop)
    return known


def load(name: str, root: Path) -> DataSet:
    """An image folder that was prepared, by its key `<name>@<checksum>`.

    Raises:
        UserError: it was not prepared here, or its file is damaged.
    """
    from raat_core.data.dataset import from_cache

    title, _, checksum = name.partition("@")
    path = root / "cache" / title / _FILE.format(sha256=checksum)
    try:
        return from_cache(name, read_cache(path))
    except UserError as error:
        raise UserError(
            f"data set {name}: {error}; delete it if it is there, then make it: python -m "
            f"raat_core data {title} --images FOLDER --image-size "
            f"{DATA_SETS[name].image_shape[1]} --data {root}"
        ) from error


def _known(page: Path, path: Path) -> ImageFolder | None:
    """What the cache's page says of a folder that was not changed since."""
    try:
        entry: dict[str, Any] = read_json(page)
        found = parse(ImageFolder, entry["image_folder"], str(page))
        times = entry["folders"]
    except (UserError, LookupError, TypeError):
        return None
    whole = (page.parent / _FILE.format(sha256=found.sha256)).exists()
    unchanged = not path.exists() or times == _times(path)
    return found if whole and unchanged else None


def _prepare(
    name: str,
    path: Path,
    image_size: int,
    cache: Path,
    page: Path,
    check_stop: Callable[[], None],
) -> ImageFolder:
    source = read_layout(name, path, image_size)
    sizes = len(source.train.labels), len(source.test.labels)
    said = f"data set {name}: decoding {sizes[0]:,} + {sizes[1]:,} images of {path}"
    print(said, file=sys.stderr, flush=True)
    times = _times(path)
    written = read_cache(write_cache(cache, _FILE, source, check_stop))
    found = ImageFolder(
        name=name,
        image_size=image_size,
        classes=len(source.classes),
        train_size=sizes[0],
        test_size=sizes[1],
        sha256=written.sha256,
    )
    entry = {"path": str(path.absolute()), "folders": times}
    write_json(page, {**entry, "image_folder": found.model_dump(mode="json")})
    return found


def _times(path: Path) -> dict[str, int]:
    """When each folder below a folder was last changed."""
    return {str(folder.relative_to(path)): folder.stat().st_mtime_ns for folder, _ in _walk(path)}


def _walk(path: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, list[str]]]:
    """Every folder at and below one, sorted, links followed, with the names of its files.

    Raises:
        UserError: a link leads back to a folder above it, or a folder cannot be read.
    """
    real = path.resolve()
    if real in above:
        raise UserError(f"{path}: leads back to {real}, which it is in: remove the link")
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    yield path, [entry.name for entry in found if not entry.is_dir()]
    for entry in found:
        if entry.is_dir():
            yield from _walk(path / entry.name, (*above, real))


def read_layout(name: str, path: Path, image_size: int) -> Source:
    """Classes are sorted by name, their images by folder and name; other files are left out.

    Raises:
        UserError: train or test is missing, a class is in one of them only, or has no image.
    """
    where = f"data set {name}: {path}"
    classes = {split: _classes(where, path / split) for split in ("train", "test")}
    for alone in sorted(set(classes["train"]) ^ set(classes["test"])):
        split = "test" if alone in classes["train"] else "train"
        raise UserError(f"{where}/{split} has no class {alone!r}, which the other split has")
    names = classes["train"]
    if len(names) < 2:
        raise UserError(f"{where}/train: {len(names)} classes; at least 2 are needed")
    splits = {
        split: _samples(where, [_images(where, path / split / c) for c in names], image_size)
        for split in ("train", "test")
    }
    return Source(classes=tuple(names), image_shape=(3, image_size, image_size), **splits)


def _classes(where: str, split: Path) -> list[str]:
    try:
        return sorted(p.name for p in split.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError as error:
        raise UserError(
            f"{where}: cannot read {split}: {error.strerror}; the layout is train/<class>/..., "
            f"test/<class>/..."
        ) from error


def _images(where: str, folder: Path) -> list[Path]:
    """All below a class's folder, sorted by their folder, then by name, as torchvision does."""
    found = [
        parent / file
        for parent, files in sorted(_walk(folder), key=lambda entry: str(entry[0]))
        for file in files
        if Path(file).suffix.lower() in SUFFIXES and not file.startswith(".")
    ]
    if not found:
        raise UserError(f"{where}: {folder} has no image ({', '.join(sorted(SUFFIXES))})")
    return found


def _read(where: str, path: Path) -> bytes:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # A pipe would never end, nor would a device.
            raise UserError(f"{where}: {path} is not a file")
        if state.st_size > LARGEST_FILE:
            raise UserError(f"{where}: {path} has {state.st_size:,} bytes, too many for an image")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{where}: cannot read {path}: {error.strerror}") from error


def _samples(where: str, classes: list[list[Path]], image_size: int) -> Samples:
    def images() -> Iterator[np.ndarray]:
        for paths in classes:
            for path in paths:
                yield decode(_read(where, path), str(path), image_size, resize=True)

    labels = [label for label, paths in enumerate(classes) for _ in paths]
    return Samples(labels, images())
