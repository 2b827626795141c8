"""A cell's folder in words. Needs no torch."""

from __future__ import annotations

import csv
import json
from typing import Any

from raat_core.cell_folder import CellFolder
from raat_core.evaluation.records import Record


def describe(folder: CellFolder) -> str:
    """What the cell is, how far its training is, and what its attacks found.

    Raises:
        UserError: the folder holds no cell, or a file is damaged.
    """
    cell = folder.read_cell()
    lines = [cell.name, json.dumps(cell.to_json(), indent=2, ensure_ascii=False)]
    if folder.history.exists():
        with folder.history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
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
