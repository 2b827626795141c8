"""Which numbers of an item are suspicious, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.evaluation.suspicion import suspicions
from raat_sweep.numbers.gaps import Note
from raat_sweep.numbers.outcomes import Records

FLAGGED = "‡"
"""Behind the name of a row with suspicious numbers."""
FLAGS_SENTENCE = (
    f"{FLAGGED} suspicious numbers; look before you believe them (docs/protocol.md says how):"
)


def notes_on_flags(rows: Sequence[Mapping[str, Any]], records: Records) -> list[Note]:
    """What is suspicious of the numbers of an item, each with the cell that it is said of.

    Args:
        rows: from `PlannedItem.rows`: `cell`, `record` and `seed`.
        records: of the folder of all cells.
    """
    found: dict[str, dict[str, str]] = {}
    for of_checkpoint in _by_checkpoint(rows):
        row = of_checkpoint[0]
        for sentence in suspicions(list(_whole(of_checkpoint, records))):
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


def _by_checkpoint(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The rows of each checkpoint of each cell, one for every record."""
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["record"]:
            found.setdefault(_checkpoint(row), {}).setdefault(row["record"], row)
    return [list(by_record.values()) for by_record in found.values()]


def _whole(rows: Sequence[Mapping[str, Any]], records: Records) -> Iterator[Record]:
    """Their records; what is missing or damaged is a gap, and said to be one."""
    for row in rows:
        with contextlib.suppress(UserError):
            yield records.read(row["cell"], row["record"])


def _checkpoint(row: Mapping[str, Any]) -> tuple[str, str]:
    """Of what a row's record is: its name begins with the checkpoint's."""
    return row["cell"], row["record"].partition("_")[0]
