"""Files that are whole or not there: written beside, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from raat_core.errors import UserError

PARTIAL = ".partial"
"""How the names of files end that are being written."""
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
            if try_lock(file) and path.exists():
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


def try_lock(file: IO[Any]) -> bool:
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
