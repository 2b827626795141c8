"""Checksums of large files, which are not read again before they change.

A run of Snakemake keeps them in its results folder. Its jobs read the config again, and take them
as they are kept: they plan what they were submitted for, whatever has become of a file since.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal, TypeAlias

from raat_core.errors import UserError
from raat_core.files.checksums import file_checksum, read_json, write_json

Reader: TypeAlias = Literal["run", "job", "other"]
"""Who asks: a run of Snakemake, one of its jobs, or somebody who only looks."""


class Checksums:
    """SHA-256 of files, kept with their sizes and times in a file of a results folder."""

    def __init__(self, kept: Path, reader: Reader) -> None:
        """As they are kept.

        Args:
            kept: the file; it need not be there. Only a run writes it.
            reader: who asks.
        """
        self._kept, self._reader = kept, reader
        self._known: dict[str, Any] | None = None

    def of(self, path: Path) -> str:
        """A file's; of one that is gone, what it was when it was last seen.

        Raises:
            UserError: the file cannot be read, and was not seen before.
        """
        known = self._read().get(str(path.absolute()))
        seen = known if isinstance(known, dict) and isinstance(known.get("sha256"), str) else None
        if seen is not None and self._reader == "job":
            return str(seen["sha256"])
        try:
            stat = path.stat()
        except OSError as error:
            if seen is not None and isinstance(error, FileNotFoundError):
                return str(seen["sha256"])
            raise UserError(f"no such file: {path.absolute()}") from None
        now = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        if seen is not None and seen == {**now, "sha256": seen["sha256"]}:
            return str(seen["sha256"])
        sha256 = file_checksum(path)
        self._read()[str(path.absolute())] = {**now, "sha256": sha256}
        if self._reader == "run":
            with contextlib.suppress(UserError):  # Then it is read again the next time.
                write_json(self._kept, self._read())
        return sha256

    def _read(self) -> dict[str, Any]:
        if self._known is None:
            self._known = {}
            if self._kept.exists():
                with contextlib.suppress(UserError):
                    found = read_json(self._kept)
                    self._known = found if isinstance(found, dict) else {}
        return self._known
