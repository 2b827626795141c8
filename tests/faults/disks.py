"""Disks that are small, full or read-only, and calls that fail as on such disks."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = 4096


@dataclass(frozen=True)
class Disk:
    """A file system of its own, in memory."""

    path: Path

    def resize(self, pages: int) -> None:
        """Make it larger or smaller; what is on it stays."""
        self._mount("remount", f"size={pages * PAGE}")

    def make_read_only(self, yes: bool = True) -> None:
        """As when an administrator, or the kernel after an error, does it."""
        self._mount("remount", "ro" if yes else "rw")

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", "-o", ",".join(options), str(self.path)], check=True)

    @property
    def pages(self) -> int:
        """How many are in use."""
        state = os.statvfs(self.path)
        return state.f_blocks - state.f_bfree


@contextlib.contextmanager
def disk(path: Path, pages: int) -> Iterator[Disk]:
    """A disk of so many pages of 4 KiB, mounted on a folder; skipped where nobody may mount one."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "none", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def failing(number: int, code: int, below: Path) -> Callable[[], int]:
    """Let the n-th flush or rename of this process below a folder fail, and all after it.

    Returns:
        How many there were so far.
    """
    count = 0
    flush, rename = os.fsync, os.replace

    def check(path: str) -> None:
        nonlocal count
        if path.startswith(str(below)):
            count += 1
            if count >= number:
                raise OSError(code, os.strerror(code), path)

    def fsync(file: int) -> None:
        check(str(Path(f"/proc/self/fd/{file}").readlink()))
        flush(file)

    def replace(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        check(os.fspath(target))
        rename(source, target)

    os.fsync, os.replace = fsync, replace  # type: ignore[assignment]
    return lambda: count
