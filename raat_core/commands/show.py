"""A cell's folder in words. Needs no torch."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from typing import Any

import safetensors

from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.files.checksums import read_json


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


def describe(folder: CellFolder) -> str:
    """What the cell is, how far its training is, and what its attacks found.

    Raises:
        UserError: the folder holds no cell, or a file is damaged.
    """
    cell = folder.read_cell()
    lines = [cell.name, json.dumps(cell.to_json(), indent=2, ensure_ascii=False)]
    columns, rows = read_history(folder)
    if rows:
        values = zip(columns, rows[-1], strict=True)
        last = ", ".join(f"{column} {value}" for column, value in values if value)
        lines.append(f"history: {len(rows)} of {cell.recipe.epochs} epochs; the last: {last}")
    if folder.manifest.exists():
        lines.append(best_line(folder.read_manifest()))
    for path in sorted((folder.path / "records").glob("*.safetensors")):
        record = Record.read(path)
        lines.append(f"{path.stem}: {record.accuracy:.2f}% of {len(record.index)} test images")
    return "\n".join(lines)


def best_line(manifest: dict[str, Any]) -> str:
    """Which epoch was the best of a finished training, and how it was chosen."""
    best = manifest["best"]
    return (
        f"trained: best epoch {best['epoch']} with {best['accuracy']:.2f}% {best['chosen_by']} "
        f"on the {best['split']} split"
    )


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


def last_session(folder: CellFolder) -> dict[str, Any]:
    """Where and when a cell was last trained: `device`, `host`, `scheduler_job` and others.

    From the manifest of a finished training, or else from the state to resume from; empty if
    neither is there and whole.
    """
    try:
        held: Any = read_json(folder.manifest)
    except UserError:
        held = _resume_metadata(folder)
    try:
        return dict(held["sessions"][-1])
    except (LookupError, TypeError, ValueError):
        return {}


def _resume_metadata(folder: CellFolder) -> Any:
    """What stands in the header of the newest whole state; its arrays are not read."""
    for name in ("state", "state.previous"):
        path = folder.resume / f"{name}.safetensors"
        try:
            with safetensors.safe_open(path, framework="np") as file:
                return json.loads((file.metadata() or {})["metadata"])
        except (OSError, KeyError, ValueError, safetensors.SafetensorError):
            continue
    return {}
