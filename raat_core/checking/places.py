"""Lines of a plugin: where something happens, and what was raised there. Needs no torch."""

from __future__ import annotations

import linecache
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType

import raat_core
from raat_core.errors import UserError
from raat_core.validation import one_line

_OURS = f"{Path(raat_core.__file__).parent}{os.sep}"
_MINE = f"{Path(__file__).parent}{os.sep}"


WATCHES: set[CodeType] = set()
"""Functions of the watch itself: what they do is not the plugin's."""


@dataclass(frozen=True)
class Place:
    """A line of a plugin."""

    file: str
    line: int

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.line).strip()
        path = os.path.relpath(self.file)
        shown = self.file if path.startswith("..") else path
        return f"{shown}:{self.line}" + (f" `{source}`" if source else "")


@dataclass(frozen=True)
class Code:
    """The files of a plugin."""

    files: frozenset[str]

    def running(self) -> Place | None:
        """The line of the plugin that runs now, perhaps inside of others' code; None of ours."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if frame.f_code in WATCHES:
                return None
            if name in self.files:
                return Place(name, frame.f_lineno)
            if name.startswith(_OURS) and not name.startswith(_MINE):
                return None
            frame = frame.f_back
        return None

    def raised(self, error: BaseException) -> Place | None:
        """The plugin's innermost line in a traceback."""
        found, traceback = None, error.__traceback__
        while traceback is not None:
            found = self._line(traceback) or found
            traceback = traceback.tb_next
        return found

    def explain(self, error: BaseException) -> str:
        """An error in one line: a user's own message, or what was raised where."""
        if isinstance(error, UserError):
            return one_line(error)
        place = self.raised(error)
        where = "" if place is None else f" at {place}"
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return one_line(f"{what[:300]}{where}")

    def _line(self, traceback: TracebackType) -> Place | None:
        name = traceback.tb_frame.f_code.co_filename
        return Place(name, traceback.tb_lineno) if name in self.files else None
