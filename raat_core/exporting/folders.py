"""The folder that an export makes: whole or not there, and nothing of anybody else's lost."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from raat_core.errors import UserError
from raat_core.exporting.forms import RECEIPT
from raat_core.files.atomic import PARTIAL, cannot_write
from raat_core.files.checksums import read_json

_KEPT_BY_PYTHON = "__pycache__"


def sha256_of(content: bytes) -> str:
    """In hex digits, as `sha256sum` says it."""
    return hashlib.sha256(content).hexdigest()


def require_free(folder: Path) -> None:
    """Refuse a folder that holds anything but an export of this program as it was made.

    Raises:
        UserError: says what is in the way.
    """
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UserError(f"to = {folder}: is a file, not a folder")
        found = [path for path in sorted(folder.rglob("*")) if _is_content(path)]
        if not found:
            return
        exported = _exported_files(folder / RECEIPT)
        for path in found:
            name = path.relative_to(folder).as_posix()
            if name == RECEIPT and exported:
                continue
            if name not in exported:
                raise UserError(f"to = {folder}: holds {name}, which no export wrote; take another")
            if sha256_of(path.read_bytes()) != exported[name]:
                raise UserError(
                    f"to = {folder}: {name} was changed since it was exported; take another folder"
                )
    except OSError as error:
        raise UserError(f"to = {folder}: {error.strerror or error}") from error


def _is_content(path: Path) -> bool:
    return _KEPT_BY_PYTHON not in path.parts and (path.is_symlink() or not path.is_dir())


def _exported_files(receipt: Path) -> dict[str, str]:
    """Checksums by path, as a receipt has them; empty if there is none, or none whole."""
    try:
        files = read_json(receipt)["files"]
        return {str(name): str(sha256) for name, sha256 in files.items()}
    except (UserError, LookupError, TypeError, AttributeError):
        return {}


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place when the block ends well.

    Raises:
        UserError: it cannot be made or put there.
    """
    beside = folder.parent / f".{folder.name}.{platform.node()}.{os.getpid()}"
    stage, old = Path(f"{beside}{PARTIAL}"), Path(f"{beside}.old{PARTIAL}")
    try:
        try:
            _remove_abandoned(folder)
            stage.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        yield stage
        try:
            if folder.exists():
                folder.replace(old)
            stage.replace(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine left beside a folder when they died, or this one."""
    start = f".{folder.name}.{platform.node()}."
    for path in folder.parent.glob(f"{glob.escape(start)}*{PARTIAL}"):
        process = path.name[len(start) :].partition(".")[0]
        if process.isdecimal() and (int(process) == os.getpid() or not _is_alive(int(process))):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # Of somebody else.
        return True
    return True
