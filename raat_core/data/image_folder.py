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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.image_folder import ImageFolder, check_folder_name
from raat_core.data.cache import Source, cached_checksum, locked, read_cache, write_cache
from raat_core.data.decoding import Decoding
from raat_core.data.images import Channels, Picture, decode
from raat_core.data.layout import SPLITS, read_layout, walk
from raat_core.errors import UserError
from raat_core.files.checksums import read_json, write_json
from raat_core.validation import one_line, parse

if TYPE_CHECKING:
    from raat_core.data.dataset import DataSet

LARGEST_FILE = 500_000_000
"""Bytes of an image file."""
_FILE = "images-{sha256:.12}.safetensors"
_ALL_GREY = (
    "all images are grey, and become three equal channels: another ℓ2 ball than that of one "
    "channel, which channels = 1 keeps"
)


def describe_folder(
    name: str,
    path: Path,
    image_size: int,
    root: Path,
    check_stop: Callable[[], None] = lambda: None,
    *,
    channels: Channels = 3,
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
        channels: 1 keeps grey images at one channel.

    Raises:
        UserError: the folder has another layout, or images are damaged: one line for each.
    """
    try:
        check_folder_name(name)
    except ValueError as error:
        raise UserError(f"data set {name!r}: {error}") from None
    cache = root / "cache" / name
    identity = f"{path.absolute()}|{image_size}" + ("" if channels == 3 else f"|{channels}")
    page = cache / f"folder-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]}.json"
    known = _known(page, path)
    if known is None:
        with locked(cache, check_stop):
            known = _known(page, path) or _prepare(
                name, path, image_size, channels, cache, page, check_stop
            )
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
        found = read_cache(path)
        if not found.sha256.startswith(checksum):
            raise UserError(f"{path} holds other images, of checksum {found.sha256:.12}")
        return from_cache(name, found)
    except UserError as error:
        channels, size, _ = DATA_SETS[name].image_shape
        raise UserError(
            f"data set {name}: {error}; delete it if it is there, then make it: python -m "
            f"raat_core data {title} --images FOLDER --image-size {size}"
            f"{'' if channels == 3 else f' --channels {channels}'} --data {root}"
        ) from error


def _known(page: Path, path: Path) -> ImageFolder | None:
    """What the cache's page says of a folder that was not changed since."""
    try:
        entry: dict[str, Any] = read_json(page)
        found = parse(ImageFolder, entry["image_folder"], str(page))
        times = entry["folders"]
    except (UserError, LookupError, TypeError):
        return None
    file = page.parent / _FILE.format(sha256=found.sha256)
    unchanged = not path.exists() or times == _times(path)
    return found if unchanged and cached_checksum(file) == found.sha256 else None


def _prepare(
    name: str,
    path: Path,
    image_size: int,
    channels: Channels,
    cache: Path,
    page: Path,
    check_stop: Callable[[], None],
) -> ImageFolder:
    source, notes = read_folder(name, path, image_size, channels, check_stop)
    sizes = len(source.train.labels), len(source.test.labels)
    _say(name, f"decoding {sizes[0]:,} + {sizes[1]:,} images of {path}")
    times = _times(path)
    written = read_cache(write_cache(cache, _FILE, source, check_stop))
    found = ImageFolder(
        name=name,
        image_size=image_size,
        channels=channels,
        classes=len(source.classes),
        train_size=sizes[0],
        test_size=sizes[1],
        sha256=written.sha256,
    )
    said = notes()
    for note in said:
        _say(name, note)
    entry = {"path": str(path.absolute()), "folders": times, "notes": said}
    write_json(page, {**entry, "image_folder": found.model_dump(mode="json")})
    return found


def _say(name: str, line: str) -> None:
    print(one_line(f"data set {name}: {line}"), file=sys.stderr, flush=True)


def _times(path: Path) -> dict[str, int]:
    """When a folder and those below its splits were last changed, but for hidden ones."""
    splits = [path / split for split in SPLITS if (path / split).is_dir()]
    below = (folder for split in splits for folder, _, _ in walk(split))
    return {str(folder.relative_to(path)): folder.stat().st_mtime_ns for folder in (path, *below)}


def read_folder(
    name: str,
    path: Path,
    image_size: int,
    channels: Channels = 3,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[Source, Callable[[], list[str]]]:
    """What is to be written, and a function that says what was found when it is: a sentence each.

    Raises:
        UserError: as `read_layout`; while images are decoded, one line for each that is bad.
    """
    layout = read_layout(f"data set {name}", path)
    where = f"data set {name}: {path}"

    def picture(file: str) -> Picture:
        data = _read(where, Path(file))
        return decode(data, file, image_size, resize=True, channels=channels)

    decoding = Decoding(where, picture, check_stop)
    train, test = (decoding.samples(split, layout.files[split]) for split in SPLITS)
    source = Source(layout.classes, (channels, image_size, image_size), train, test)

    def notes() -> list[str]:
        grey = channels == 3 and decoding.is_grey
        return [*layout.notes, *decoding.notes, *([_ALL_GREY] if grey else [])]

    return source, notes


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
