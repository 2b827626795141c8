"""A cell's folder: where its files are, and reading them back. Needs no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raat_core.errors import UserError
from raat_core.spec import Cell, Checkpoint
from raat_core.storage import Arrays, read_arrays, read_json, write_json, write_text
from raat_core.validation import parse


@dataclass(frozen=True)
class Weights:
    """A checkpoint: parameters and buffers by name, the epoch it is of, and its checksum."""

    arrays: Arrays
    epoch: int
    sha256: str


_OF_MANIFEST: dict[str, type | tuple[type, ...]] = {
    "cell": str,
    "digest": str,
    "finished": str,
    "train_seconds": (int, float),
    "best.epoch": int,
    "best.accuracy": (int, float),
    "best.chosen_by": str,
    "best.split": str,
    "weights_sha256.best": str,
    "weights_sha256.last": str,
}
"""What others read of a manifest, and what it has to be."""


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell.

    `spec.json` is written first and `manifest.json` last; between them training keeps its state
    in `resume/`. Records of attacks are in `records/`, parts of those that are not whole in
    `records/parts/`.
    """

    path: Path

    @property
    def spec(self) -> Path:
        """The whole spec."""
        return self.path / "spec.json"

    @property
    def manifest(self) -> Path:
        """What made the weights; its presence says that training is finished."""
        return self.path / "manifest.json"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / "history.csv"

    @property
    def resume(self) -> Path:
        """The state of an unfinished training."""
        return self.path / "resume"

    def weights(self, checkpoint: Checkpoint) -> Path:
        """`best.safetensors` or `last.safetensors`."""
        return self.path / f"{checkpoint}.safetensors"

    def record(self, name: str) -> Path:
        """The record of the attack that `evaluation_name` names."""
        return self.path / "records" / f"{name}.safetensors"

    @property
    def parts(self) -> Path:
        """Parts of records that are not whole yet."""
        return self.path / "records" / "parts"

    def write_spec(self, cell: Cell) -> None:
        """Store the whole spec; a folder that holds another cell's is refused.

        Raises:
            UserError: the folder holds another spec, or cannot be written.
        """
        if not self.spec.exists():
            write_json(self.spec, cell.to_json())
        elif self.read_cell() != cell:
            raise UserError(f"{self.path} holds another cell: see {self.spec}")

    def read_cell(self) -> Cell:
        """The cell of this folder.

        Raises:
            UserError: the spec is missing, damaged or invalid.
        """
        return parse(Cell, read_json(self.spec), str(self.spec))

    def read_manifest(self) -> dict[str, Any]:
        """The manifest of a finished training.

        Raises:
            UserError: training is not finished, or the file is damaged.
        """
        if not self.manifest.exists():
            raise UserError(f"{self.path}: this cell is not trained, there is no manifest.json")
        manifest: Any = read_json(self.manifest)
        for place, kind in _OF_MANIFEST.items():
            value = manifest
            for key in place.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if not isinstance(value, kind):
                raise UserError(f"{self.manifest} is damaged: {place} = {value!r:.60}")
        whole: dict[str, Any] = manifest
        return whole

    def read_weights(self, checkpoint: Checkpoint) -> Weights:
        """A checkpoint, verified against its own checksum and the manifest's.

        Raises:
            UserError: missing, damaged, or not the ones that the manifest names.
        """
        expected = self.read_manifest()["weights_sha256"][checkpoint]
        path = self.weights(checkpoint)
        arrays, metadata, found = read_arrays(path)
        if found != expected:
            raise UserError(f"{path} is not the checkpoint that {self.manifest} describes")
        return Weights(arrays, metadata["epoch"], found)

    def write_history(self, rows: Sequence[dict[str, Any]]) -> None:
        """One row per epoch; empty where an epoch was not evaluated, or has no such loss term."""
        text = io.StringIO()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.history, text.getvalue())
