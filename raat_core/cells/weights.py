"""`best.safetensors` and `last.safetensors`: the checkpoints of a finished training."""

from __future__ import annotations

from dataclasses import dataclass

from raat_core.cells.evaluations import Checkpoint
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import lost, read_manifest
from raat_core.errors import Damaged
from raat_core.files.checksums import Arrays, read_arrays


@dataclass(frozen=True)
class Weights:
    """A checkpoint: parameters and buffers by name, the epoch it is of, and its checksum."""

    arrays: Arrays
    epoch: int
    sha256: str


def read_weights(folder: CellFolder, checkpoint: Checkpoint) -> Weights:
    """A checkpoint, verified against its own checksum and the manifest's.

    Raises:
        UserError: missing, damaged, or not the ones that the manifest names.
    """
    expected = read_manifest(folder)["weights_sha256"][checkpoint]
    path = folder.weights(checkpoint)
    try:
        arrays, metadata, found = read_arrays(path)
        if found != expected:
            raise Damaged(f"{path} is not the checkpoint that {folder.manifest} describes")
    except Damaged as damage:
        raise lost(folder, damage) from damage
    return Weights(arrays, metadata["epoch"], found)
