"""`python -m raat_core show`: a cell's folder in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raat_core.cells.extensions import describe_beside_now
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_history
from raat_core.cells.manifest import read_manifest, warnings_in
from raat_core.cells.spec import read_cell
from raat_core.evaluation.records import Record


def describe(folder: CellFolder) -> str:
    """What the cell is, how far its training is, and what its attacks found.

    Raises:
        UserError: the folder holds no cell, or a file is damaged.
    """
    cell = read_cell(folder)
    lines = [cell.name, json.dumps(cell.to_json(), indent=2, ensure_ascii=False)]
    columns, rows = read_history(folder)
    if rows:
        values = zip(columns, rows[-1], strict=True)
        last = ", ".join(f"{column} {value}" for column, value in values if value)
        lines.append(f"history: {len(rows)} of {cell.recipe.epochs} epochs; the last: {last}")
    if folder.manifest.exists():
        manifest = read_manifest(folder)
        lines += [*best_lines(manifest), *_extension_lines(manifest)]
    for path in sorted((folder.path / "records").glob("*.safetensors")):
        record = Record.read(path)
        lines.append(f"{path.stem}: {record.accuracy:.2f}% of {len(record.index)} test images")
        lines += [f"  {line}" for line in _extension_lines(record.metadata)]
    return "\n".join(lines)


def _extension_lines(metadata: Mapping[str, Any]) -> list[str]:
    """What plugins made it, and whether they are others now."""
    return [describe_beside_now(one) for one in metadata.get("extensions", ())]


def best_lines(manifest: dict[str, Any]) -> list[str]:
    """Which epoch was the best of a finished training, how it was chosen, and warnings of that."""
    best = manifest["best"]
    if best["chosen_by"] == "last epoch":
        which = f"the best is the last epoch, {best['epoch']}, with {best['accuracy']:.2f}% robust"
    else:
        which = f"best epoch {best['epoch']} with {best['accuracy']:.2f}% {best['chosen_by']}"
    trained = f"trained: {which} on the {best['split']} split"
    return [trained, *(f"warning: {each}" for each in warnings_in(manifest))]
