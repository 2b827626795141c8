"""One process at a time in a folder: its lock is held until the process ends, however it does."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from raat_core.errors import UserError
from raat_core.files.atomic import PARTIAL, cannot_write, remove_abandoned, try_lock

LOCK = ".lock"
"""The file in a folder whose lock stands for the folder's."""


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
        try_lock(file)
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
        while not try_lock(file):
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
