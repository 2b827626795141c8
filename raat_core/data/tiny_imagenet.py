"""Tiny-ImageNet: 200 classes of ImageNet at 64×64 pixels; the labelled val split is the test set.

Its zip is read as it is: no member ever becomes a file.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from raat_core.cells.catalogue import DATA_SETS
from raat_core.data.archives import Archive, obtain, problem_of, say_unpacked_is_used
from raat_core.data.cache import Source
from raat_core.data.dataset import DataSet, load_cached
from raat_core.data.decoding import Decoding
from raat_core.data.images import Picture, decode
from raat_core.data.layout import is_hidden_file
from raat_core.errors import UserError
from raat_core.files.checksums import data_checksum
from raat_core.interface.data_set import CheckStop

NAME = "tiny-imagenet"
FOLDER = "tiny-imagenet-200"
ARCHIVE = Archive(
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    filename=f"{FOLDER}.zip",
    size=248_100_043,
    md5="90528d7ca1a48142e341f4ef8d21d0de",
    sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    unpacked=FOLDER,
)
_MOST_MEMBERS = 200_000
_LARGEST_MEMBER = 20_000_000
_LARGEST_TOTAL = 2_000_000_000


def load(root: Path, check_stop: CheckStop) -> DataSet:
    """Images (3, 64, 64); classes in the order of their WordNet ids, val as the test split.

    Training images are in the order of their names, class by class; test images in the order of
    `val_annotations.txt`. Made from `root`/tiny-imagenet-200.zip, or else from the folder that it
    unpacks to, or else from a download. What was made of a folder is made again if the archive
    came, or if files were added to the folder or removed.

    Raises:
        UserError: none of them is there and whole, and there is no network.
    """
    with ExitStack() as stack:
        return load_cached(
            NAME,
            root,
            lambda: _source(NAME, root, stack, check_stop),
            check_stop,
            lambda origin: _is_current(origin, root),
        )


def _is_current(origin: str, root: Path) -> bool:
    """Whether a cache is of the files that are there; the archive's are known by its checksum."""
    if not origin:
        return True
    if problem_of(ARCHIVE, root) is None:
        return False
    return not (root / FOLDER).is_dir() or origin == _state(root / FOLDER)


def _state(unpacked: Path) -> str:
    """When its folders were last changed, to the second, as one checksum."""
    parts = [unpacked / "val", unpacked / "val/images", *(unpacked / "train").glob("*/images")]
    seconds = {
        path.relative_to(unpacked).as_posix(): int(path.stat().st_mtime)
        for path in [unpacked, *parts]
        if path.is_dir()
    }
    return data_checksum(seconds)


class _Files(Protocol):
    """The files below tiny-imagenet-200/, in a zip or a folder."""

    where: Path

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; none if there is no such folder."""

    def read(self, path: str) -> bytes:
        """A file's content; KeyError if it is not there."""


class _Unpacked:
    """An unpacked copy."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(path.name for path in (self.where / folder).iterdir())
        except FileNotFoundError:
            return []

    def read(self, path: str) -> bytes:
        try:
            return (self.where / path).read_bytes()
        except FileNotFoundError:
            raise KeyError(path) from None


class _Zipped:
    """The zip, its members checked before any is read."""

    def __init__(self, where: Path, stack: ExitStack) -> None:
        self.where = where
        self._zip = stack.enter_context(zipfile.ZipFile(where))
        members = self._zip.infolist()
        if len(members) > _MOST_MEMBERS or sum(m.file_size for m in members) > _LARGEST_TOTAL:
            raise UserError(f"{where}: holds more than Tiny-ImageNet does")
        self._folders: dict[str, list[str]] = {}
        for member in members:
            path = PurePosixPath(member.filename)
            mode = member.external_attr >> 16
            if (
                path.is_absolute()
                or ".." in path.parts
                or "\\" in member.filename
                or (stat.S_IFMT(mode) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)))
                or member.file_size > _LARGEST_MEMBER
            ):
                raise UserError(f"{where}: member {member.filename!r} is not let out of it")
            if not member.is_dir():
                self._folders.setdefault(str(path.parent), []).append(path.name)

    def names(self, folder: str) -> list[str]:
        return sorted(self._folders.get(f"{FOLDER}/{folder}", []))

    def read(self, path: str) -> bytes:
        return self._zip.read(f"{FOLDER}/{path}")


def _source(name: str, root: Path, stack: ExitStack, check_stop: CheckStop) -> Source:
    unpacked, problem, note = root / FOLDER, problem_of(ARCHIVE, root), ""
    if problem is not None and unpacked.is_dir():
        state = _state(unpacked)
        try:
            found = read_layout(name, _Unpacked(unpacked), check_stop)
        except UserError as error:
            if not (root / ARCHIVE.filename).exists():
                raise
            note = str(error).removeprefix(f"data set {name}: ")
        else:
            say_unpacked_is_used(name, ARCHIVE, root, problem)
            return replace(found, origin=state)
    path = obtain(name, ARCHIVE, root, note) if problem else root / ARCHIVE.filename
    try:
        return read_layout(name, _Zipped(path, stack), check_stop)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
        raise UserError(f"data set {name}: {path} cannot be read: {error}") from error


def read_layout(name: str, files: _Files, check_stop: CheckStop) -> Source:
    """The original layout: wnids.txt, train/<wnid>/images/, val/images/, val_annotations.txt.

    Raises:
        UserError: something of it is missing; says what and where. Images that are damaged are
            named when they are decoded, a line each.
    """
    info = DATA_SETS[name]
    source = f"data set {name}: {files.where}"
    classes = sorted(_text(source, files, "wnids.txt").split())
    if len(set(classes)) != info.classes:
        raise UserError(f"{source}/wnids.txt: {len(set(classes))} classes, not {info.classes}")
    train = [
        (f"train/{wnid}/images/{file}", label)
        for label, wnid in enumerate(classes)
        for file in files.names(f"train/{wnid}/images")
        if file.endswith(".JPEG") and not is_hidden_file(file)
    ]
    test = _annotated(source, classes, _text(source, files, "val/val_annotations.txt"))
    for split, found, expected in (
        ("train", train, info.train_size),
        ("val", test, info.test_size),
    ):
        counts = Counter(label for _, label in found)
        short = [wnid for i, wnid in enumerate(classes) if counts[i] * info.classes != expected]
        if short:
            more = f" (so are {len(short) - 1} more classes)" if len(short) > 1 else ""
            raise UserError(
                f"{source}/{split} is not whole: {counts[classes.index(short[0])]} images of "
                f"{short[0]}, not {expected // info.classes}{more}"
            )
    size = info.image_shape[1]
    decoding = Decoding(source, lambda path: _decode(source, files, path, size), check_stop)
    return Source(
        classes=tuple(classes),
        image_shape=info.image_shape,
        train=decoding.samples("train", train),
        test=decoding.samples("test", test),
    )


def _text(source: str, files: _Files, path: str) -> str:
    try:
        return files.read(path).decode()
    except KeyError:
        raise UserError(f"{source}/{path} is missing") from None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{source}/{path} cannot be read: {error}") from error


def _annotated(source: str, classes: Sequence[str], text: str) -> list[tuple[str, int]]:
    labels = {wnid: label for label, wnid in enumerate(classes)}
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        file, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in labels or "/" in file:
            raise UserError(f"{source}/val/val_annotations.txt: line {number} is damaged")
        found.append((f"val/images/{file}", labels[wnid]))
    return found


def _decode(source: str, files: _Files, path: str, size: int) -> Picture:
    where = f"{source}/{path}"
    try:
        data = files.read(path)
    except KeyError:
        raise UserError(f"{where} is missing") from None
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
        raise UserError(f"{where} cannot be read: {error}") from error
    return decode(data, where, size, formats=["JPEG"])
