"""Which numbers of an item are suspicious, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.evaluation.suspicion import suspicions
from raat_sweep.numbers.gaps import Note

FLAGGED = "‡"
"""Behind the name of a row with suspicious numbers."""
FLAGS_SENTENCE = (
    f"{FLAGGED} suspicious numbers; look before you believe them (docs/protocol.md says how):"
)


def notes_on_flags(rows: Sequence[Mapping[str, Any]], cells: Path) -> list[Note]:
    """What is suspicious of the numbers of an item, each with the cell that it is said of.

    Args:
        rows: from `PlannedItem.rows`: `cell`, `record` and `seed`.
        cells: the folder of all cells.
    """
    found: dict[str, dict[str, str]] = {}
    for row, records in _records(rows, cells):
        for sentence in suspicions(records):
            found.setdefault(sentence, {})[row["cell"]] = _where(row)
    return [
        Note(sentence, [(cell, where, "") for cell, where in places.items()])
        for sentence, places in found.items()
    ]


def cells_of(notes: Sequence[Note]) -> set[str]:
    """The cells that notes are on, by name."""
    return {cell for note in notes for cell, _, _ in note.cells}


def _where(row: Mapping[str, Any]) -> str:
    """Where a number stands in a table or a comparison; of a figure, its seed."""
    places = [row[key] for key in ("method", "architecture", "dataset") if key in row]
    seed = f"seed {row['seed']}"
    return f" ({', '.join([*places, seed])})"


def _records(
    rows: Sequence[Mapping[str, Any]], cells: Path
) -> Iterator[tuple[Mapping[str, Any], list[Record]]]:
    """The records of every checkpoint of every cell, each with one of its rows.

    What is missing or damaged is a gap, and said to be one.
    """
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    records: dict[tuple[str, str], dict[str, Record]] = {}
    for row in rows:
        if not row["record"] or row["record"] in records.get(_checkpoint(row), {}):
            continue
        try:
            record = Record.read(CellFolder(cells / row["cell"]).record(row["record"]))
        except UserError:
            continue
        first.setdefault(_checkpoint(row), row)
        records.setdefault(_checkpoint(row), {})[row["record"]] = record
    for key, row in first.items():
        yield row, list(records[key].values())


def _checkpoint(row: Mapping[str, Any]) -> tuple[str, str]:
    """Of what a row's record is: its name begins with the checkpoint's."""
    return row["cell"], row["record"].partition("_")[0]
