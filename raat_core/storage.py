"""Files that are whole or not there: written beside, flushed, renamed; tensors with checksums.

Tensors are kept as NumPy arrays here: what reads records needs no torch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from raat_core.errors import Damaged, UserError

Arrays = dict[str, np.ndarray]
LOCK = ".lock"
"""The file in a folder whose lock stands for the folder's."""
PARTIAL = ".partial"
"""How the names of files end that are being written."""
CHECKSUM = "checksum"
"""The key of a sealed JSON file that holds the SHA-256 of the rest."""
_ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have your quota raised",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
}


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically; a crash leaves the old file or the new one.

    What processes that died left of the same file half written is removed.

    Raises:
        UserError: the folder cannot be made or written, or the disk is full.
    """
    # Of this process alone: another one, of this machine or of another, may write the same file.
    temporary = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, f"{glob.escape(path.name)}.*{PARTIAL}")
        with _being_written(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def _being_written(path: Path) -> Iterator[BinaryIO]:
    """A new file whose lock is held, so that nobody takes it for an abandoned one."""
    while True:
        with path.open("wb") as file:
            # Between the two, another process may have found it without a lock.
            if _lock(file) and path.exists():
                yield file
                return


def cannot_write(path: Path, error: OSError) -> UserError:
    """What to tell the user of a file that cannot be written: which, why, and what to do."""
    advice = _ADVICE.get(error.errno or 0, "mend that")
    return UserError(
        f"cannot write {path}: {error.strerror or error}; {advice} and give the same command "
        f"again, it goes on from what is saved"
    )


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove files of a folder that a process was writing when it died.

    Whoever writes a file holds its lock, so that one whose lock is free has nobody. Where the file
    system has no locks, files that may still be written are left alone.
    """
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError), path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@dataclass
class Lock:
    """The lock of a folder, as long as it is held."""

    folder: Path
    file: IO[str]

    def require(self) -> None:
        """Make sure that it is held still: somebody may have tidied up, or moved the folder.

        A lock file that is gone is made anew: whoever else had come would have made one.

        Raises:
            UserError: the folder is gone, or another process has taken it since.
        """
        path = self.folder / LOCK
        try:
            with contextlib.suppress(FileExistsError):  # Another was quicker: it has the folder.
                if not path.exists():
                    self._renew(path)
            held, there = os.fstat(self.file.fileno()), path.stat()
        except FileNotFoundError as error:
            raise UserError(
                f"{self.folder} was moved or removed while a process worked in it: give the same "
                f"command again"
            ) from error
        except OSError as error:
            raise cannot_write(path, error) from error
        if (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino):
            raise UserError(
                f"{path} was removed while its process worked, and another process has taken the "
                f"folder; this one leaves it alone"
            )

    def _renew(self, path: Path) -> None:
        file = path.open("x+", encoding="utf-8")
        _lock(file)
        _sign(file)
        self.file.close()
        self.file = file


@contextlib.contextmanager
def exclusive(folder: Path, purpose: str, wait: Callable[[], None] | None = None) -> Iterator[Lock]:
    """Hold the lock of a folder inside the block; it is let go when the process ends, however.

    Files that a process left half written when it died are removed.

    Args:
        folder: which.
        purpose: what the holder does with it, for messages.
        wait: wait for another process that holds it, calling this twice a second; it may raise.

    Raises:
        UserError: another process holds it, and there is no `wait`; says which.
    """
    path = folder / LOCK
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    lock = Lock(folder, file)
    try:
        message = ""
        while not _lock(file):
            holder = f"{folder} is {purpose} by {_holder(file)}"
            if wait is None:
                raise UserError(holder)
            if holder != message:
                print(f"waiting: {holder}", flush=True)
                message = holder
            wait()
            time.sleep(0.5)
        try:
            _sign(file)
        except OSError as error:
            raise cannot_write(path, error) from error
        for pattern in (f"*{PARTIAL}", f"resume/*{PARTIAL}"):
            remove_abandoned(folder, pattern)
        yield lock
    finally:
        with contextlib.suppress(OSError):  # What it could not write before it tries again.
            lock.file.close()


def _holder(file: IO[str]) -> str:
    """Who has signed a lock's file, which its process does a moment after it has the lock."""
    for _ in range(20):
        file.seek(0)
        if text := file.read().strip():
            return text
        time.sleep(0.05)
    return "a process that cannot write"


def _sign(file: IO[str]) -> None:
    """Say in a lock's file who holds it."""
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()


def _lock(file: IO[Any]) -> bool:
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


def write_sealed_json(path: Path, data: Mapping[str, Any]) -> None:
    """`write_json` with a checksum of the data among them, which `read_json` looks at."""
    write_json(path, {**data, CHECKSUM: data_checksum(data)})


def data_checksum(data: object) -> str:
    """SHA-256 of plain data, whatever the order of keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Plain data from a JSON file, without its checksum if it has one.

    Raises:
        Damaged: the file is not whole JSON, or fails its checksum.
        UserError: it is missing or cannot be read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Damaged(f"{path} is not valid JSON, cut short or damaged: {error}") from error
    if isinstance(data, dict) and CHECKSUM in data:
        expected = data.pop(CHECKSUM)
        if data_checksum(data) != expected:
            raise Damaged(f"{path} is damaged: its checksum does not match its contents")
    return data


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
        Damaged: the file is truncated or fails its checksum.
        UserError: it is missing or cannot be read.
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
        raise Damaged(f"{path} is truncated or not a file of this program: {error}") from error
    if checksum_of(arrays, metadata) != expected:
        raise Damaged(f"{path} is damaged: its checksum does not match its contents")
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
        raise Damaged(f"{path} is truncated or not a file of this program: {error}") from error
    return metadata


def checksum_of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes, contents and metadata, in the order of names."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
