"""Why numbers are not there: the reason of each, and notes on all of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_sweep.monitor.failures import Failures

NO_EPOCHS = "given weights have no epochs"
"""The reason of a gap that nothing will fill."""
LONGEST_WHY = 140
"""Characters of a failure's reason below a table."""


def damaged(what: str, error: UserError) -> dict[str, str]:
    """`gap` and `log` of a number that cannot be told; the file is named in the log."""
    print(f"warning: {error}", flush=True)
    return {"gap": what, "log": ""}


def missing_record(cell: CellFolder, record: str, failures: Failures) -> dict[str, str] | None:
    """`gap` and `log` of a number whose record is not there; None if it is."""
    if not cell.manifest.exists():
        return not_trained(cell, failures)
    if not cell.record(record).exists():
        return _because("not attacked", cell, failures)
    return None


def not_trained(cell: CellFolder, failures: Failures) -> dict[str, str]:
    """`gap` and `log` of a number of a cell that is not trained."""
    return _because("not trained", cell, failures)


def _because(what: str, cell: CellFolder, failures: Failures) -> dict[str, str]:
    """With what the cell's logs say of the failure, if there was one."""
    failure = failures.of(cell)
    if failure is None:
        return {"gap": what, "log": ""}
    return {"gap": f"{what}: {failure.reason}", "log": failure.log_name}


@dataclass(frozen=True)
class Note:
    """A reason for gaps or for doubt, and its cells: (name, detail, path of the log or empty)."""

    reason: str
    cells: list[tuple[str, str, str]]


Footnotes: TypeAlias = Sequence[tuple[str, Sequence[Note]]]
"""Sentences, each with the notes that it introduces."""
_MOST_IN_A_CAPTION = 4


def in_a_caption(sentence: str, notes: Sequence[Note]) -> str:
    """A footnote as one sentence: the first few notes, cells by seed and digest."""
    parts = []
    for note in notes[:_MOST_IN_A_CAPTION]:
        cells = ("_".join(cell.rsplit("_", 2)[-2:]) for cell, _, _ in note.cells)
        parts.append(f"{note.reason}: {', '.join(cells)}")
    if len(notes) > _MOST_IN_A_CAPTION:
        parts.append(f"and {len(notes) - _MOST_IN_A_CAPTION} more, which `show` prints")
    return f"{sentence} {'; '.join(parts)}"


def in_words(note: Note) -> str:
    """On one line, for a page."""
    cells = (
        f"{cell}{detail}" + (f", log {log}" if log else "") for cell, detail, log in note.cells
    )
    return f"{note.reason}: {'; '.join(cells)}"


def notes_on_gaps(measurements: pd.DataFrame, titles: Mapping[str, str]) -> list[Note]:
    """The reasons why numbers are missing, each with its cells."""
    gaps = measurements[measurements["accuracy"].isna()]
    notes = []
    for reason, rows in gaps.groupby("gap", sort=False):
        cells = []
        for cell, of_cell in rows.groupby("cell", sort=False):
            metrics = set(of_cell["metric"])
            missing = [title for metric, title in titles.items() if metric in metrics]
            every = len(missing) == len(titles)
            detail = "" if every else f" ({', '.join(missing)})"
            cells.append((str(cell), detail, str(of_cell["log"].iloc[0])))
        notes.append(Note(_short(str(reason)), cells))
    return notes


def _short(reason: str) -> str:
    """`not trained`, or `not trained (why)` where a log says why; the whole is in `.cells.csv`."""
    what, _, why = reason.partition(": ")
    if len(why) > LONGEST_WHY:
        why = f"{why[: LONGEST_WHY - 2].rstrip()} …"
    return f"{what} ({why})" if why else what
