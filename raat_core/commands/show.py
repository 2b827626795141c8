"""`python -m raat_core show`: a cell's folder in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.cells.extensions import describe_beside_now
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_history
from raat_core.cells.manifest import read_manifest, warnings_in
from raat_core.cells.spec import read_cell
from raat_core.commands.show_record import RANDOM_STARTS, is_of_history
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.evaluation.suspicion import suspicions
from raat_core.interface.registry import method_class, resolve_attack


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
        lines += _version_lines(cell, manifest)
        lines += [*best_lines(manifest), *_extension_lines(manifest)]
    records = []
    for path in sorted((folder.path / "records").glob("*.safetensors")):
        record = Record.read(path)
        records.append(record)
        line = f"{record.accuracy:.2f}% of {len(record.index)} test images"
        lines.append(f"{path.stem}: {_label(cell, record)}{line}")
        lines += [f"  {line}" for line in _extension_lines(record.metadata)]
    if any(is_of_history(record.metadata["attack"], cell) for record in records):
        robust = cell.selection.robust_label(cell.threat_model)
        lines.append(f"{robust} in the history: {RANDOM_STARTS}")
    return "\n".join([*lines, *_suspicions(records)])


def _suspicions(records: Sequence[Record]) -> list[str]:
    """What is suspicious of the numbers of each checkpoint, and its weights."""
    of_weights: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        made_of = record.metadata["checkpoint"], record.metadata["weights_sha256"]
        of_weights.setdefault(made_of, []).append(record)
    return [
        f"suspicious ({checkpoint}): {each}"
        for (checkpoint, _), several in of_weights.items()
        for each in suspicions(several)
    ]


def _label(cell: Cell, record: Record) -> str:
    """What the attack is called on this cell; empty if it is of a plugin that is not loaded."""
    try:
        attack = resolve_attack(record.metadata["attack"])
        return f"{attack.label_in(cell.threat_model, images=False)}: "
    except (ValueError, UserError, LookupError):
        return ""


def _version_lines(cell: Cell, manifest: Mapping[str, Any]) -> list[str]:
    """Whether another version of the method trained it, in which words may have other meanings."""
    made_by, now = manifest["method_version"], method_class(cell.method.name).version
    if made_by == now:
        return []
    return [
        f"trained by version {made_by} of method '{cell.method.name}', and this is version {now}: "
        f"what its settings mean may have changed (CHANGELOG.md)"
    ]


def _extension_lines(metadata: Mapping[str, Any]) -> list[str]:
    """What plugins made it, and whether they are others now."""
    return [describe_beside_now(one) for one in metadata.get("extensions", ())]


def best_lines(manifest: dict[str, Any]) -> list[str]:
    """Which epoch was the best of a finished training, how it was chosen, and warnings of that.

    Of given weights: the file, and what was made of it.
    """
    if "given" in manifest:
        return _given_lines(manifest)
    best = manifest["best"]
    if best["chosen_by"] == "last epoch":
        which = f"the best is the last epoch, {best['epoch']}, with {best['accuracy']:.2f}% robust"
    else:
        which = f"best epoch {best['epoch']} with {best['accuracy']:.2f}% {best['chosen_by']}"
    trained = f"trained: {which} on the {best['split']} split"
    return [trained, *(f"warning: {each}" for each in warnings_in(manifest))]


def _given_lines(manifest: Mapping[str, Any]) -> list[str]:
    given, accuracy = manifest["given"], manifest["best"]["accuracy"]
    sha256 = manifest["spec"]["method"]["sha256"]
    words = {
        "key": "under the key '{}'",
        "prefix": "names changed by '{}'",
        "dtypes": "of {}",
        "kept": "not in the file, as the architecture makes them: {}",
        "ignored": "in the file and left out: {}",
    }
    said = [
        text.format(", ".join(given[key]) if isinstance(given[key], list) else given[key])
        for key, text in words.items()
        if key in given
    ]
    tried = f"{accuracy:.2f}% clean accuracy on {given['tried_on']} test images"
    lines = [
        f"given: {'; '.join([given['path'], f'sha256 {sha256}', *said])}",
        f"not trained here: {tried}",
    ]
    return [*lines, *([f"warning: {given['warning']}"] if "warning" in given else [])]
