"""A cell's folder: where its files are, and reading them back. Needs no torch."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint
from raat_core.errors import Damaged, UserError
from raat_core.files.atomic import write_text
from raat_core.files.checksums import Arrays, read_arrays, read_json, write_json
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
            UserError: the folder holds another spec or a damaged one, or cannot be written.
        """
        if not self.spec.exists():
            write_json(self.spec, cell.to_json())
        elif self.read_cell() != cell:
            raise UserError(
                f"{self.path} holds another cell: see {self.spec}; if that file is damaged, "
                f"remove it and give the same command again"
            )

    def read_cell(self) -> Cell:
        """The cell of this folder; a finished one's as the manifest has it, under its checksum.

        Raises:
            UserError: the spec is missing, damaged or invalid.
        """
        kept = self._cell_in_manifest()
        try:
            found = parse(Cell, read_json(self.spec), str(self.spec))
            if kept is None or found == kept:
                return found
            problem = f"{self.spec} is damaged: it is not the spec in {self.manifest.name}"
        except UserError as error:
            if kept is None:
                advice = "remove it and give the same command again" if self.spec.exists() else ""
                raise UserError("; ".join(filter(None, [str(error), advice]))) from error
            problem = str(error)
        print(f"warning: {problem}; the copy in {self.manifest} is used", flush=True)
        return kept

    def _cell_in_manifest(self) -> Cell | None:
        """The copy of the spec that the manifest of a finished training holds."""
        if not self.manifest.exists():
            return None
        spec = self._sealed_manifest().get("spec")
        return None if spec is None else parse(Cell, spec, str(self.manifest))

    def read_manifest(self) -> dict[str, Any]:
        """The manifest of a finished training.

        Raises:
            UserError: training is not finished, or the file is damaged.
        """
        if not self.manifest.exists():
            raise UserError(f"{self.path}: this cell is not trained, there is no manifest.json")
        manifest = self._sealed_manifest()
        for place, kind in _OF_MANIFEST.items():
            value: Any = manifest
            for key in place.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if not isinstance(value, kind):
                damage = Damaged(f"{self.manifest} is damaged: {place} = {value!r:.60}")
                raise self._lost(damage)
        return manifest

    def _sealed_manifest(self) -> dict[str, Any]:
        """The manifest, whatever stands in it."""
        try:
            manifest = read_json(self.manifest)
            if not isinstance(manifest, dict):
                raise Damaged(f"{self.manifest} is damaged: it is no manifest")
        except Damaged as damage:
            raise self._lost(damage) from damage
        return manifest

    def _lost(self, damage: Damaged) -> Damaged:
        """What to tell of a damaged file of a finished training, of which there is no other."""
        return Damaged(
            f"{damage}; put back a copy of it, or remove {self.path} and give the same command "
            f"again to make this cell anew"
        )

    def read_weights(self, checkpoint: Checkpoint) -> Weights:
        """A checkpoint, verified against its own checksum and the manifest's.

        Raises:
            UserError: missing, damaged, or not the ones that the manifest names.
        """
        expected = self.read_manifest()["weights_sha256"][checkpoint]
        path = self.weights(checkpoint)
        try:
            arrays, metadata, found = read_arrays(path)
            if found != expected:
                raise Damaged(f"{path} is not the checkpoint that {self.manifest} describes")
        except Damaged as damage:
            raise self._lost(damage) from damage
        return Weights(arrays, metadata["epoch"], found)

    def require_whole_history(self) -> None:
        """Hold the history of a training, if it is finished, against the manifest's checksum.

        Raises:
            UserError: it is damaged, or cannot be read.
        """
        if not self.manifest.exists():
            return
        expected = self._sealed_manifest().get("history_sha256")
        try:
            found = hashlib.sha256(self.history.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {self.history}: {error.strerror}") from error
        if expected not in (None, found):
            raise self._lost(
                Damaged(f"{self.history} is damaged: its checksum does not match its contents")
            )

    def write_history(self, rows: Sequence[dict[str, Any]]) -> str:
        """One row per epoch; empty where an epoch was not evaluated, or has no such loss term.

        Returns:
            The file's SHA-256.
        """
        text = io.StringIO()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.history, text.getvalue())
        return hashlib.sha256(text.getvalue().encode()).hexdigest()
