"""`history.csv`: a row for every epoch, written while a cell is trained."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import lost, sealed_manifest
from raat_core.errors import Damaged, UserError
from raat_core.files.atomic import write_text


@dataclass(frozen=True)
class Progress:
    """How far a training is, as its history says."""

    epoch: int = 0
    """How many are trained."""
    seconds: tuple[float, ...] = ()
    """What each of them took."""
    loss: float | None = None
    """Of the last one."""
    robust_accuracy: float | None = None
    """Of the last one that was evaluated, in percent."""


def write_history(folder: CellFolder, rows: Sequence[dict[str, Any]]) -> str:
    """One row per epoch; empty where an epoch was not evaluated, or has no such loss term.

    Returns:
        The file's SHA-256.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder.history, text.getvalue())
    return hashlib.sha256(text.getvalue().encode()).hexdigest()


def require_whole_history(folder: CellFolder) -> None:
    """Hold the history of a training, if it is finished, against the manifest's checksum.

    Raises:
        UserError: it is damaged, or cannot be read.
    """
    if not folder.manifest.exists():
        return
    expected = sealed_manifest(folder).get("history_sha256")
    if expected is None and not folder.history.exists():
        return  # Of given weights there is none.
    try:
        found = hashlib.sha256(folder.history.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {folder.history}: {error.strerror}") from error
    if expected not in (None, found):
        damage = f"{folder.history} is damaged: its checksum does not match its contents"
        raise lost(folder, Damaged(damage))


def read_history(folder: CellFolder) -> tuple[list[str], list[list[str]]]:
    """The names of the history's columns, and its whole rows; nothing if there is no history.

    Cells may be looked at while they are trained, on file systems that show a file half written:
    what is damaged is left out.
    """
    try:
        text = folder.history.read_text(encoding="utf-8", errors="replace")
        header, *rows = csv.reader(text.splitlines())
    except (OSError, ValueError, csv.Error):
        return [], []
    return header, [row for row in rows if len(row) == len(header)]


_PROGRESS = ("epoch", "seconds", "loss", "robust_accuracy")


def read_progress(folder: CellFolder) -> Progress:
    """How far the training is; the start if there is no history."""
    header, rows = read_history(folder)
    if not set(_PROGRESS) <= set(header):
        return Progress()
    epoch, seconds, loss, robust = map(header.index, _PROGRESS)
    timed = [(row, _number(row[seconds])) for row in rows]
    whole = [(row, spent) for row, spent in timed if spent is not None]
    if not whole:
        return Progress()
    evaluations = (_number(row[robust]) for row, _ in reversed(whole))
    last, _ = whole[-1]
    return Progress(
        epoch=int(_number(last[epoch]) or len(whole)),
        seconds=tuple(spent for _, spent in whole),
        loss=_number(last[loss]),
        robust_accuracy=next((found for found in evaluations if found is not None), None),
    )


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
