"""A cell's folder in words. Needs no torch."""

from __future__ import annotations

import csv
import json

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
        best = folder.read_manifest()["best"]
        lines.append(
            f"trained: best epoch {best['epoch']}, {best['accuracy']:.2f}% {best['chosen_by']} "
            f"on the {best['split']} split"
        )
    for path in sorted((folder.path / "records").glob("*.safetensors")):
        record = Record.read(path)
        lines.append(f"{path.stem}: {record.accuracy:.2f}% of {len(record.index)} test images")
    return "\n".join(lines)
