"""What is known of a checkpoint: its cell, its manifest, and its records. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import read_cell
from raat_core.cells.weights import Weights, read_weights
from raat_core.evaluation.records import Record
from raat_core.evaluation.suspicion import suspicions


@dataclass(frozen=True)
class Evidence:
    """A checkpoint of a trained cell, and what was found of it."""

    cell: Cell
    manifest: dict[str, Any]
    checkpoint: Checkpoint
    weights: Weights
    records: dict[str, Record]
    """By name: those of these weights, on the images that the manifest means."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return DATA_SETS[self.cell.dataset].image_shape

    @property
    def in_ball(self) -> dict[str, Record]:
        """The records of attacks in the ball of the cell's threat model."""
        return {name: each for name, each in self.records.items() if self._is_in_ball(each)}

    def _is_in_ball(self, record: Record) -> bool:
        attack, threat = record.metadata["attack"], self.cell.threat_model
        return (
            attack.get("norm") == threat.norm
            and "epsilon" in attack
            and Fraction(str(attack["epsilon"])) == threat.epsilon
        )

    @property
    def autoattack(self) -> Record | None:
        """That of the standard AutoAttack in the cell's ball, of the most images."""
        found = [each for each in self.in_ball.values() if _is_standard(each)]
        return max(found, key=lambda record: len(record.index), default=None)

    @property
    def suspicions(self) -> list[str]:
        """What is suspicious about the numbers of all records together, a sentence each."""
        return suspicions(list(self.records.values()))

    @property
    def is_judged(self) -> bool:
        """Whether AutoAttack said what it found suspicious; older records of it do not."""
        record = self.autoattack
        return record is not None and (bool(record.details) or "flags" in record.metadata)


def _is_standard(record: Record) -> bool:
    attack = record.metadata["attack"]
    return (attack["kind"], attack.get("version")) == ("autoattack", "standard")


def gather(folder: CellFolder, checkpoint: Checkpoint) -> Evidence:
    """All that a cell's folder says of a checkpoint.

    Raises:
        UserError: the cell is not trained, or a file is damaged.
    """
    weights, manifest = read_weights(folder, checkpoint), read_manifest(folder)
    records = {}
    for path in sorted((folder.path / "records").glob("*.safetensors")):
        record = Record.read(path)
        of_data = record.metadata.get("data_sha256")
        is_of_this = record.metadata.get("weights_sha256") == weights.sha256
        if is_of_this and of_data == manifest.get("data_sha256", of_data):
            records[path.stem] = record
    return Evidence(read_cell(folder), manifest, checkpoint, weights, records)
