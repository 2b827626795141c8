"""What is to be known of how the best checkpoints of a table were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest, warnings_in
from raat_core.errors import UserError
from raat_sweep.numbers.gaps import Note

BEST_SENTENCE = "Best checkpoints that chance may have chosen:"


def notes_on_best(rows: Sequence[Mapping[str, Any]], cells: Path) -> list[Note]:
    """Warnings in the manifests of a table's cells, each with its cells and their rows and seeds.

    Args:
        rows: from `PlannedItem.rows`.
        cells: the folder of all cells.
    """
    found: dict[str, list[tuple[str, str, str]]] = {}
    for name, row in {row["cell"]: row for row in rows}.items():
        where = f" ({row['method']}, {row['architecture']}, {row['dataset']}, seed {row['seed']})"
        for warning in _warnings(CellFolder(cells / name)):
            found.setdefault(warning, []).append((name, where, ""))
    return [Note(warning, places) for warning, places in found.items()]


def _warnings(cell: CellFolder) -> list[str]:
    """None of a cell that is not trained or damaged: it is a gap, and said to be one."""
    try:
        return warnings_in(read_manifest(cell))
    except UserError:
        return []
