"""A cell's folder: where each of its files is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raat_core.cells.evaluations import Checkpoint


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell.

    `spec.json` is written first and `manifest.json` last; between them training keeps its state
    in `resume/`. Records of attacks are in `records/`, parts of those that are not whole in
    `records/parts/`, adversarial images that were kept in `records/images/`. Modules beside this
    one are named like the files that they read and write; `resume/` is
    `raat_core.training.state`'s, `records/` is `raat_core.evaluation.records`'.
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
