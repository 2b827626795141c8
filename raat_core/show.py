"""A cell's folder in words. Needs no torch."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from typing import Any

import safetensors

from raat_core.cell_folder import CellFolder
from raat_core.errors import UserError
from raat_core.evaluation.records import Record


@dataclass(frozen=True)
class Epoch:
    """An epoch that is trained, as the history tells of it."""

    number: int
    """From 1."""
    seconds: float
    loss: float | None
    robust_accuracy: float | None
    """In percent; None if the epoch was not evaluated."""


def describe(folder: CellFolder) -> str:
    """What the cell is, how far its training is, and what its attacks found.

    Raises:
        UserError: the folder holds no cell, or a file is damaged.
    """
    cell = folder.read_cell()
    lines = [cell.name, json.dumps(cell.to_json(), indent=2, ensure_ascii=False)]
    if rows := read_history(folder):
        last = ", ".join(f"{key} {value}" for key, value in rows[-1].items() if value)
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


def read_history(folder: CellFolder) -> list[dict[str, str]]:
    """The whole rows of a cell's history, as text; none if there is no history.

    Cells may be looked at while they are trained, on file systems that show a file half written:
    what is damaged is left out.
    """
    try:
        text = folder.history.read_text(encoding="utf-8", errors="replace")
        header, *rows = csv.reader(text.splitlines())
    except (OSError, ValueError, csv.Error):
        return []
    return [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


def read_epochs(folder: CellFolder) -> list[Epoch]:
    """The epochs that are trained, as far as `read_history` finds them."""
    epochs = []
    for row in read_history(folder):
        number, seconds = _number(row.get("epoch")), _number(row.get("seconds"))
        if number is not None and seconds is not None:
            robust = _number(row.get("robust_accuracy"))
            epochs.append(Epoch(int(number), seconds, _number(row.get("loss")), robust))
    return epochs


def _number(text: str | None) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def last_session(folder: CellFolder) -> dict[str, Any]:
    """Where and when a cell was last trained: `device`, `host`, `scheduler_job` and others.

    From the manifest of a finished training, or else from the state to resume from; empty if
    neither is there and whole.
    """
    try:
        held: Any = folder.read_manifest()
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
