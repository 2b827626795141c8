"""Files that are whole or not there: written beside, flushed, renamed; tensors with checksums.

Tensors are kept as NumPy arrays here: what reads records needs no torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from raat_core.errors import UserError

Arrays = dict[str, np.ndarray]
PARTIAL = ".partial"
"""How the names of files end that are being written."""


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically; a crash leaves the old file or the new one.

    Raises:
        UserError: the folder cannot be made or written, or the disk is full.
    """
    # Of this process alone: another one, of this machine or of another, may write the same file.
    temporary = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def exclusive(folder: Path, purpose: str, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of a folder inside the block; it is let go when the process ends, however.

    Files that a process left half written when it died are removed.

    Args:
        folder: which.
        purpose: what the holder does with it, for messages.
        wait: wait for another process that holds it, calling this twice a second; it may raise.

    Raises:
        UserError: another process holds it, and there is no `wait`; says which.
    """
    path = folder / ".lock"
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    with file:
        message = ""
        while not _lock(file):
            file.seek(0)
            holder = f"{folder} is {purpose} by {file.read().strip()}"
            if wait is None:
                raise UserError(holder)
            if holder != message:
                print(f"waiting: {holder}", flush=True)
                message = holder
            wait()
            time.sleep(0.5)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        for partial in (*folder.glob(f"*{PARTIAL}"), *folder.glob(f"resume/*{PARTIAL}")):
            partial.unlink(missing_ok=True)
        yield


def _lock(file: IO[str]) -> bool:
    """Whether the lock was free; on a file system without locks nothing can be known."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: object) -> None:
    """`write_bytes` of indented JSON; NaN is an error."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Plain data from a JSON file.

    Raises:
        UserError: the file is missing, cannot be read, or is not whole JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON, cut short or damaged: {error}") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """Write a safetensors file; returns the SHA-256 of the arrays, which it holds too."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    checksum = checksum_of(contiguous, metadata)
    header = {"metadata": json.dumps(metadata, sort_keys=True), "sha256": checksum}
    write_bytes(path, safetensors.numpy.save(contiguous, metadata=header))
    return checksum


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any], str]:
    """Arrays, metadata and checksum of a file that `write_arrays` wrote.

    Raises:
        UserError: the file is missing, truncated, or fails its checksum.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata: dict[str, Any] = json.loads(header["metadata"])
        expected = header["sha256"]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is truncated or not a file of this program: {error}") from error
    if checksum_of(arrays, metadata) != expected:
        raise UserError(f"{path} is damaged: its checksum does not match its contents")
    return arrays, metadata, expected


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata alone of a file that `write_arrays` wrote; the arrays are neither read nor checked.

    Raises:
        UserError: the file is missing or truncated, or has none.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})["metadata"])
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is truncated or not a file of this program: {error}") from error
    return metadata


def checksum_of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes, contents and metadata, in the order of names."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
