"""A data set decoded once into one file of tensors, which processes map into their memory.

The file is checksummed, written whole or not at all, and by one process: others wait for it. It is
mapped copy-on-write: its pages are shared by all processes of a machine, and what one of them
writes into its tensors stays its own. Nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors

from raat_core.errors import UserError
from raat_core.files.atomic import PARTIAL, cannot_write
from raat_core.files.checksums import Arrays, checksum_of, read_json, write_json
from raat_core.files.locks import Lock, exclusive

LEVELS = 255
_ARRAYS = ("test_images", "test_labels", "train_images", "train_labels")
"""In the order of the checksum."""
_DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype("u1"), "I64": np.dtype("<i8")}
_CHECK_EVERY = 500
"""Images between two looks at whether to stop."""


@dataclass(frozen=True)
class Samples:
    """A split to be written: labels, and images uint8 (C, H, W) in their order, made one by one."""

    labels: Sequence[int]
    images: Iterable[np.ndarray]


@dataclass(frozen=True)
class Source:
    """A data set to be written."""

    classes: tuple[str, ...]
    """Names, in the order of the labels."""
    image_shape: tuple[int, int, int]
    train: Samples
    test: Samples
    origin: str = ""
    """What of its files is looked at to know whether they changed; no part of the checksum."""


@dataclass(frozen=True)
class Cached:
    """A data set's file, mapped."""

    path: Path
    arrays: Arrays
    """`{train,test}_images` uint8 (N, C, H, W) and `{train,test}_labels` int64 (N,)."""
    classes: tuple[str, ...]
    sha256: str
    """Over images, labels and names of classes, and nothing else."""
    origin: str
    """As its source had it when it was made."""


def data_root(chosen: Path | str | None = None) -> Path:
    """Where data lies: what is chosen, else the environment's RAAT_DATA, else `data`."""
    return Path(chosen or os.environ.get("RAAT_DATA") or "data")


def cached(
    folder: Path,
    make: Callable[[], Source],
    check_stop: Callable[[], None] = lambda: None,
    is_current: Callable[[str], bool] = lambda _: True,
) -> Cached:
    """The data set in a cache folder; made first if it is not there, damaged or of other files.

    Args:
        folder: of this data set alone.
        make: what to make it from; only called by the one process that makes it.
        check_stop: called while waiting and while images are decoded; may raise to stop.
        is_current: whether its `origin` is what `make` would make it from now. If it is not, and
            `make` fails, the cache is used with a word: half a folder is no other data set.

    Raises:
        UserError: by `make`, or the folder cannot be written.
    """
    path = folder / "images.safetensors"
    with contextlib.suppress(UserError):
        found = read_cache(path)
        if is_current(found.origin):
            return found
    with locked(folder, check_stop):
        before = _before(path)
        if before and is_current(before.origin):
            return before
        if before:
            print(f"{path} was made of other files than there are now; it is made again")
        try:
            return read_cache(write_cache(folder, path.name, make(), check_stop))
        except UserError as error:
            if before is None:
                raise
            print(f"warning: {error}; {path} is used as it was made before", file=sys.stderr)
            return before


def _before(path: Path) -> Cached | None:
    """What is there before it is made, and a line that says why it is made again."""
    if not path.exists():
        return None
    try:
        found = read_cache(path)
    except UserError as damage:
        print(f"{damage}; it is made again", flush=True)
        return None
    return found


def locked(folder: Path, check_stop: Callable[[], None]) -> contextlib.AbstractContextManager[Lock]:
    """Make a cache folder and hold its lock; waits for another process that does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return exclusive(folder, "being prepared", wait=check_stop)


def read_cache(path: Path) -> Cached:
    """Map a file that `write_cache` wrote.

    Its checksum is computed when the file is new or was changed since it was found good: that is
    remembered beside it, with its size and time.

    Raises:
        UserError: the file is missing, truncated or damaged.
    """
    try:
        arrays, header = _map(path)
        metadata, expected = json.loads(header["metadata"]), str(header["sha256"])
        classes = tuple(metadata["classes"])
        state = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path} is truncated or not a file of this program: {error}") from error
    verified = {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": expected}
    if _remembered(path) != verified:
        if checksum_of(arrays, metadata) != expected:
            raise UserError(f"{path} is damaged: its checksum does not match its contents")
        # On a file system that cannot be written it is found good again every time.
        with contextlib.suppress(UserError):
            write_json(_memory(path), verified)
    return Cached(path, arrays, classes, expected, header.get("origin", ""))


def cached_checksum(path: Path) -> str | None:
    """The checksum that a file says of itself, if it is there and as long as it has to be."""
    try:
        return str(_map(path)[1]["sha256"])
    except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError):
        return None


def _memory(path: Path) -> Path:
    return path.with_suffix(".verified.json")


def _remembered(path: Path) -> object:
    try:
        return read_json(_memory(path))
    except UserError:
        return None


def _map(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays of a safetensors file, mapped copy-on-write, and its header's metadata."""
    # Opening it checks that the header is sound and fits the file's size.
    with safetensors.safe_open(path, framework="np") as file:
        metadata = dict(file.metadata() or {})
    with path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(length))
    return {
        name: np.memmap(
            path,
            dtype=_DTYPES[header[name]["dtype"]],
            mode="c",
            offset=8 + length + header[name]["data_offsets"][0],
            shape=tuple(header[name]["shape"]),
        )
        for name in _ARRAYS
    }, metadata


def write_cache(
    folder: Path, name: str, source: Source, check_stop: Callable[[], None] = lambda: None
) -> Path:
    """Write a data set image by image, so that it needs no memory; returns where it lies.

    Args:
        folder: whose lock is held.
        name: the file's; `{sha256}` in it becomes the checksum.
        source: what to write.
        check_stop: called now and then; may raise to stop.

    Raises:
        UserError: the file cannot be written, or an image has another shape.
    """
    temporary = folder / f"images.{os.getpid()}{PARTIAL}"
    header = _Header(source)
    try:
        with temporary.open("wb") as file:
            # As long as it will be with the checksum.
            file.write(header.encode("0" * 64))
            checksum = _write_arrays(file, source, header, check_stop)
            file.seek(0)
            file.write(header.encode(checksum))
            file.flush()
            os.fsync(file.fileno())
        # Nobody's to change, and nobody's to read whom the umask keeps from it.
        temporary.chmod(temporary.stat().st_mode & 0o444)
        return temporary.replace(folder / name.format(sha256=checksum))
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


class _Header:
    """The header of a safetensors file: labels first, where they are aligned, then images."""

    def __init__(self, source: Source) -> None:
        self.metadata = {"classes": list(source.classes), "levels": LEVELS}
        self._origin = source.origin
        self.shapes: dict[str, tuple[int, ...]] = {}
        for split in ("train", "test"):
            count = len(getattr(source, split).labels)
            self.shapes[f"{split}_labels"] = (count,)
            self.shapes[f"{split}_images"] = (count, *source.image_shape)
        self.offsets: dict[str, int] = {}
        self._entries: dict[str, Any] = {}
        start = 0
        for name in sorted(_ARRAYS, key=lambda name: not name.endswith("labels")):
            kind = "I64" if name.endswith("labels") else "U8"
            end = start + int(np.prod(self.shapes[name], dtype=np.int64)) * _DTYPES[kind].itemsize
            entry = {"dtype": kind, "shape": self.shapes[name], "data_offsets": (start, end)}
            self._entries[name] = entry
            self.offsets[name] = start
            start = end

    def encode(self, checksum: str) -> bytes:
        """The bytes before the arrays."""
        metadata = {"metadata": json.dumps(self.metadata, sort_keys=True), "sha256": checksum}
        metadata |= {"origin": self._origin} if self._origin else {}
        text = json.dumps({"__metadata__": metadata, **self._entries}).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


def _write_arrays(
    file: BinaryIO, source: Source, header: _Header, check_stop: Callable[[], None]
) -> str:
    """Write what stands behind the header; returns its checksum, as `checksum_of` computes it."""
    start = file.tell()
    digest = hashlib.sha256(json.dumps(header.metadata, sort_keys=True).encode())
    for name in _ARRAYS:
        split, kind = name.split("_")
        samples: Samples = getattr(source, split)
        dtype = "int64" if kind == "labels" else "uint8"
        digest.update(f"{name}|{dtype}|{header.shapes[name]}|".encode())
        file.seek(start + header.offsets[name])
        for data in _pieces(kind, samples, source.image_shape, check_stop):
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def _pieces(
    kind: str, samples: Samples, shape: tuple[int, ...], check_stop: Callable[[], None]
) -> Iterable[bytes]:
    if kind == "labels":
        yield np.asarray(samples.labels, dtype="<i8").tobytes()
        return
    count = 0
    for count, image in enumerate(samples.images, start=1):
        if image.shape != shape or image.dtype != np.uint8:
            raise UserError(f"image {count} is {image.dtype} {image.shape}, not uint8 {shape}")
        yield image.tobytes()
        if count % _CHECK_EVERY == 0:
            check_stop()
            _show(count, len(samples.labels))
    if count != len(samples.labels):
        raise UserError(f"{count} images for {len(samples.labels)} labels")


def _show(done: int, total: int) -> None:
    """How far it is, on a terminal."""
    if sys.stderr.isatty():
        end = "\r" if done + _CHECK_EVERY <= total else "\r\033[K"
        print(f"decoded {done:,} of {total:,} images", end=end, file=sys.stderr, flush=True)
