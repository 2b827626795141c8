"""`cells.csv`: a row for every cell and attack of a sweep."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import read_cell
from raat_core.errors import UserError
from raat_core.files.atomic import write_text
from raat_core.files.checksums import read_json
from raat_core.validation import format_fraction
from raat_sweep.results.markers import LOOKED_AFTER, forget

CELL_COLUMNS = (
    "dataset", "architecture", "norm", "epsilon", "method", "variant", "settings", "seed",
    "checkpoint", "epoch", "selection_split", "attack", "accuracy", "samples", "train_seconds",
    "attack_seconds", "cell", "record",
)  # fmt: skip


def write_cells(results: Path, summaries: Sequence[Sequence[str]]) -> None:
    """`cells.csv`: one row per cell and attack of all items, tidy.

    Args:
        results: the config's folder.
        summaries: (cell's name, name of the file that lists its attacks).

    Raises:
        UserError: a file is missing or damaged.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=CELL_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell, summary in summaries:
        writer.writerows(_cell_rows(CellFolder(results / "cells" / cell), summary))
    write_text(results / "cells.csv", text.getvalue())


def _cell_rows(folder: CellFolder, summary_name: str) -> list[dict[str, Any]]:
    cell, manifest = read_cell(folder), read_manifest(folder)
    try:
        summary = read_json(folder.path / summary_name)
    except UserError as error:
        forget(folder)
        raise UserError(f"{error}; {LOOKED_AFTER}") from error
    settings = " ".join(f"{key}={value}" for key, value in cell.method.distinctive().items())
    return [
        {
            "dataset": cell.dataset,
            "architecture": cell.architecture,
            "norm": cell.threat_model.norm,
            "epsilon": format_fraction(cell.threat_model.epsilon),
            "method": cell.method.name,
            "variant": cell.method.variant,
            "settings": settings,
            "seed": cell.seed,
            "checkpoint": summary["checkpoint"],
            "epoch": summary["epoch"],
            "selection_split": cell.selection.split if cell.trains else "",
            "attack": attack["label"],
            "accuracy": attack["accuracy"],
            "samples": attack["samples"],
            "train_seconds": manifest["train_seconds"],
            "attack_seconds": attack["seconds"],
            "cell": folder.path.name,
            "record": attack["record"],
        }
        for attack in summary["attacks"]
    ]
