"""What a finished training leaves: weights, history, and last of all the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint
from raat_core.cells.extensions import as_metadata, extensions_of
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import write_history
from raat_core.files.checksums import write_arrays, write_sealed_json
from raat_core.files.provenance import now, versions
from raat_core.interface.registry import method_class
from raat_core.models.count import count_operations
from raat_core.training.state import Best, Progress, Tensors, snapshot, to_arrays
from raat_core.training.trainee import Trainee
from raat_core.validation import one_line


def write_results(
    folder: CellFolder,
    trainee: Trainee,
    progress: Progress,
    best: Best,
    warnings: Sequence[str],
    sources: Mapping[str, Any],
) -> None:
    """Write a finished cell's files; the manifest, which says that they are whole, is the last.

    Args:
        folder: the cell's.
        trainee: what was trained.
        progress: at the end.
        best: the best checkpoint.
        warnings: what is to be known of how it was chosen.
        sources: what the weights were made from, under keys of the manifest.
    """
    cell = trainee.cell
    last = snapshot(trainee.reported)
    checksums = {
        "best": write_weights(folder, "best", cell, best.weights, best.epoch),
        "last": write_weights(folder, "last", cell, last, progress.epoch),
    }
    history_sha256 = write_history(folder, progress.history)
    seconds = sum(float(row["seconds"]) for row in progress.history)
    on_gpu = progress.sessions[-1]["device"] == "cuda"
    manifest = {
        "cell": cell.name,
        "digest": cell.digest,
        "variant": cell.method.variant,
        "method_version": method_class(cell.method.name).version,
        "finished": now(),
        "train_seconds": round(seconds, 3),
        "gpu_hours": round(seconds / 3600, 4) if on_gpu else 0.0,
        "epochs": progress.epoch,
        "parameters": sum(parameter.numel() for parameter in trainee.model.parameters()),
        "best": {
            "epoch": best.epoch,
            "chosen_by": cell.selection.chosen_by(cell.threat_model),
            "split": cell.selection.split,
            "accuracy": best.accuracy,
            **({"warnings": list(warnings)} if warnings else {}),
        },
        "weights_sha256": checksums,
        "history_sha256": history_sha256,
        **sources,
        "versions": versions(),
        **as_metadata(extensions_of(cell)),
        **counted_operations(cell),
        "sessions": progress.sessions,
        "spec": cell.to_json(),
    }
    write_sealed_json(folder.manifest, manifest)


def counted_operations(cell: Cell) -> dict[str, Any]:
    """`{"operations": ...}` of an architecture that does not say; nothing of others."""
    if ARCHITECTURES[cell.architecture].operations is not None:
        return {}
    try:
        return {"operations": asdict(count_operations(cell.architecture, cell.dataset))}
    except Exception as error:  # A training is not lost to it.
        print(f"warning: operations are not counted: {one_line(error)}", flush=True)
        return {}


def write_weights(
    folder: CellFolder, checkpoint: Checkpoint, cell: Cell, weights: Tensors, epoch: int
) -> str:
    """Write a checkpoint; returns its checksum."""
    metadata = {"cell": cell.digest, "checkpoint": checkpoint, "epoch": epoch}
    return write_arrays(folder.weights(checkpoint), to_arrays(weights), metadata)
