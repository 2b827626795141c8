"""Archives that data sets come in: there and whole, or downloaded, or one message says what to do.

Nothing is believed before its checksum was computed.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raat_core.errors import UserError

PATIENCE = 20.0
"""Seconds after which a server that does not answer is given up."""


@dataclass(frozen=True)
class Archive:
    """A file that can be downloaded, and how to know it."""

    url: str
    filename: str
    size: int
    """Bytes."""
    md5: str
    unpacked: str
    """The folder that does instead."""
    sha256: str | None = None


def obtain(dataset: str, archive: Archive, root: Path, note: str = "") -> Path:
    """The archive under `root`, whole; downloaded by torchvision if it is not there.

    Args:
        dataset: for messages.
        archive: which.
        root: the folder that it lies in.
        note: what is wrong with the unpacked folder if there is one, for the message.

    Raises:
        UserError: it is missing or damaged and cannot be downloaded; says where to put it.
    """
    path = root / archive.filename
    problem = problem_of(archive, root)
    if problem is None:
        return path
    reason = _download(archive, root)
    if reason is None:
        problem = problem_of(archive, root)
        if problem is None:
            return path
        reason = "the server sent something else"
    checksum = f"SHA-256 {archive.sha256}" if archive.sha256 else f"MD5 {archive.md5}"
    instead = f" (or its folder {archive.unpacked} beside it)" if not note else ""
    raise UserError(
        f"data set {dataset}: {path.absolute()} {problem}, and cannot be downloaded here "
        f"({reason}): put the file of {archive.url} ({archive.size / 1e6:.0f} MB, {checksum}) "
        f"there{instead}{note and '; '}{note}"
    )


def problem_of(archive: Archive, root: Path) -> str | None:
    """What is wrong with the archive under `root`, if anything is: `is missing`, for example."""
    path = root / archive.filename
    try:
        size = path.stat().st_size
        if size < archive.size:
            return f"is incomplete ({size:,} of {archive.size:,} bytes)"
        # The stronger one alone: it says all that the other would, and a large file is read once.
        kind, expected = ("sha256", archive.sha256) if archive.sha256 else ("md5", archive.md5)
        if _checksum(path, kind) != expected:
            return f"is damaged or another file (its {kind.upper()} is not the right one)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def say_unpacked_is_used(dataset: str, archive: Archive, root: Path, problem: str) -> None:
    """A line where an archive lies beside a folder that is used in its place."""
    if (root / archive.filename).exists():
        line = f"data set {dataset}: {root / archive.filename} {problem}; "
        line += f"{root / archive.unpacked} is used in its place"
        print(line, file=sys.stderr, flush=True)


def _checksum(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(kind, usedforsecurity=kind != "md5")
        ).hexdigest()


def _download(archive: Archive, root: Path) -> str | None:
    """Download; what went wrong, if anything did."""
    try:
        from torchvision.datasets.utils import download_url
    except ImportError as error:
        return f"torchvision is not installed: {error}"
    print(f"downloading {archive.url} to {root}", flush=True)
    try:
        with _patience():
            download_url(archive.url, str(root), archive.filename, archive.md5)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return " ".join(str(getattr(reason, "strerror", None) or reason).split())
    return None


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
