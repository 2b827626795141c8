"""`python -m raat_core show RECORD`: what a number was made of, and how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint, evaluation_name
from raat_core.cells.extensions import describe_beside_now
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_history
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import read_cell
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.files.checksums import read_metadata
from raat_core.interface.attack import SHARE_RIGHT, AttackSettings
from raat_core.interface.registry import attack_class, resolve_attack
from raat_core.validation import one_line

_SESSION = ("batches", "finished", "seconds", "hardware", "scheduler_job", "git_commit")
RANDOM_STARTS = "attacked from other random starts than in records, so that they differ by chance"
"""What is to be known of a robust accuracy in a history beside a record of the same attack."""


def is_record(path: Path) -> bool:
    """Whether a file has the metadata of a record."""
    try:
        return {"attack", "checkpoint", "weights_sha256"} <= set(read_metadata(path))
    except UserError:
        return False


def describe_record(path: Path) -> str:
    """Accuracy, checkpoint, attack, data, versions, hardware, flags; and the command.

    Args:
        path: of a record in a cell's folder, or of a copy of one elsewhere.

    Raises:
        UserError: it is missing or damaged, or no record.
    """
    record = Record.read(path) if is_record(path) else _refuse(path)
    folder, metadata = _cell_of(path), record.metadata
    lines = [
        f"record {path.stem} of {folder.path.name if folder else 'a cell that is not beside it'}",
        f"accuracy: {_accuracy(record)}",
        f"checkpoint: {_checkpoint(metadata, folder)}",
        f"attack: {_attack(metadata, path)}",
        f"data: {_data(metadata, folder)}",
        f"versions: {_listed(metadata.get('versions', {}))}",
        f"hardware: {_listed(metadata.get('hardware', {}))}",
        f"fast paths: {', '.join(metadata.get('fast_paths', ())) or 'none'}",
        f"commit: {metadata.get('git_commit') or 'not kept'}",
        f"scheduler's job: {metadata.get('scheduler_job') or 'none'}",
        f"finished: {metadata.get('finished', '?')}, after {metadata.get('seconds', '?')} s",
        *(f"part: {_listed(_some(part, _SESSION))}" for part in metadata.get("parts", ())),
        *(f"work: {name}: {_listed(work)}" for name, work in metadata.get("work", {}).items()),
        *(f"{setting}: {_listed(one)}" for setting, one in metadata.get("sources", {}).items()),
        *(f"plugin: {describe_beside_now(one)}" for one in metadata.get("extensions", ())),
        *(f"flag: {flag}" for flag in metadata.get("flags", ())),
        *_history(metadata, folder),
        *_again(metadata, path, folder),
    ]
    return "\n".join(lines)


def _refuse(path: Path) -> Record:
    """A file that cannot be read has its own message."""
    read_metadata(path)
    raise UserError(f"{path}: is no record of an attack; these are in <cell>/records/")


def _cell_of(path: Path) -> CellFolder | None:
    """The cell whose `records` or `records/parts` a file is in."""
    for folder in path.resolve().parents[1:3]:
        if (folder / "spec.json").exists():
            # As it was given, so that commands can be given from the same place.
            depth = path.resolve().parents.index(folder)
            parents = path.parents
            return CellFolder(parents[depth] if depth < len(parents) else folder)
    return None


def _accuracy(record: Record) -> str:
    right, count = int(record.correct.sum()), len(record.index)
    if SHARE_RIGHT in record.details:
        meaning = record.metadata.get("accuracy_is", "mean over several versions of each image")
        return f"{record.accuracy:.2f}%, {meaning}, of {count} images"
    text = f"{record.accuracy:.2f}%, {right} of {count} images"
    if record.clean is None:
        return text
    clean = int((record.clean == record.label).sum())
    return f"{text}; {clean} of these {count} are right without attack"


def _checkpoint(metadata: Mapping[str, Any], folder: CellFolder | None) -> str:
    name, sha256 = metadata["checkpoint"], metadata["weights_sha256"]
    text = f"{name}, epoch {metadata.get('epoch', '?')}, weights with SHA-256 {sha256}"
    if folder is None or not folder.manifest.exists():
        return text
    now = read_manifest(folder)["weights_sha256"][name]
    return text if now == sha256 else f"{text}, but the cell's have {now} now"


def _data(metadata: Mapping[str, Any], folder: CellFolder | None) -> str:
    sha256 = metadata.get("data_sha256")
    text = (
        f"the {metadata.get('split', 'test')} split of {metadata.get('test_size', '?')} images, "
        f"SHA-256 {sha256 or 'not kept'}"
    )
    if folder is None or not folder.manifest.exists():
        return text
    trained_on = read_manifest(folder).get("data_sha256")
    if None in (sha256, trained_on) or sha256 == trained_on:
        return text
    return f"{text}, but the cell was trained on data with {trained_on}"


def _attack(metadata: Mapping[str, Any], path: Path) -> str:
    settings = metadata["attack"]
    text = json.dumps(settings, ensure_ascii=False)
    attack = _known(settings)
    if attack is None:
        return f"{text}; of a plugin that is not loaded"
    version = attack_class(attack.kind).version
    name = evaluation_name(attack, metadata["checkpoint"])
    made = "" if path.stem.startswith(name) else ", but the record was made by another one"
    label = ": ".join(filter(None, [attack.label, attack.describe()]))
    return f"{label}: {text}; version {version}{made}"


def _known(settings: Mapping[str, Any]) -> AttackSettings | None:
    try:
        return resolve_attack(settings)
    except ValueError:
        return None


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items()) or "not kept"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({_listed(value)})"
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return one_line(str(value)) if value is not None else "none"


def _some(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values}


def is_of_history(attack: Mapping[str, Any], cell: Cell) -> bool:
    """Whether it is the attack that robust accuracies in the cell's history are under."""
    known, threat = _known(attack), cell.threat_model
    if known is None:
        return False
    label = known.label_in(threat, images=False)
    return label.lower() == cell.selection.robust_label(threat).lower()


def _history(metadata: Mapping[str, Any], folder: CellFolder | None) -> Iterator[str]:
    """What the history says of the same epoch."""
    if folder is None:
        return
    try:
        cell = read_cell(folder)
    except UserError:  # Of a plugin that is not loaded.
        return
    columns, rows = read_history(folder)
    for row in rows:
        values = dict(zip(columns, row, strict=True))
        if values.get("epoch") != str(metadata.get("epoch")):
            continue
        found = [("clean", values.get("clean_accuracy"))]
        robust = cell.selection.robust_label(cell.threat_model)
        found.append((robust, values.get("robust_accuracy")))
        said = ", ".join(f"{float(value):.2f}% {label}" for label, value in found if value)
        if said:
            same = f"; {RANDOM_STARTS}" if is_of_history(metadata["attack"], cell) else ""
            yield f"history: {said} after this epoch on the {cell.selection.split} split{same}"


def _again(metadata: Mapping[str, Any], path: Path, folder: CellFolder | None) -> Iterator[str]:
    """The command that computes the record anew; the same hardware gives the same numbers."""
    if folder is None:
        return
    yield f"again: {command_of(metadata, folder)}"
    yield (
        f"  (a record that is there is kept: remove {path.name} first, or give the command a copy "
        f"of the folder without it)"
    )


def command_of(metadata: Mapping[str, Any], folder: CellFolder) -> str:
    """The command line that made a record, or would have made it in one piece."""
    hardware: Mapping[str, Any] = metadata.get("hardware", {})
    checkpoint: Checkpoint = metadata["checkpoint"]
    attacks = json.dumps([metadata["attack"]], sort_keys=True)
    options = ["--attacks", attacks, "--checkpoint", checkpoint]
    if device := hardware.get("device"):
        options += ["--device", str(device)]
    if threads := hardware.get("threads"):
        options += ["--threads", str(threads)]
    # A network that the spec describes is found by the spec.
    named = [one for one in metadata.get("extensions", ()) if not _is_described(one, folder)]
    for plugin in dict.fromkeys(str(one["path"]) for one in named):
        options += ["--plugin", plugin]
    command = shlex.join(["python", "-m", "raat_core", "attack", str(folder.path), *options])
    if "fast_paths" not in metadata:
        return command
    return f"RAAT_FAST_PATHS={','.join(metadata['fast_paths']) or 'plain'} {command}"


def _is_described(extension: Mapping[str, Any], folder: CellFolder) -> bool:
    """Whether the cell's spec says where an extension is from."""
    try:
        network = read_cell(folder).network
    except UserError:
        return False
    is_function = network is not None and network.is_function
    return is_function and extension.get("kind") == "architecture"
