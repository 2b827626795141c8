"""The models of the cells that a cell needs: teachers, helpers, and who labels extra data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from raat_core.cells.cell import EXTRA_LABELS, Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.needs import needed_folder, require_needs
from raat_core.cells.weights import read_weights
from raat_core.data.dataset import Split
from raat_core.errors import UserError
from raat_core.evaluation.accuracy import predict
from raat_core.evaluation.run import load_model, quickest
from raat_core.fast.switches import FastPaths
from raat_core.interface.needs import Checkpoint


@dataclass(frozen=True)
class Needed:
    """A needed cell's model, frozen and in evaluation mode, and what its weights are."""

    cell: str
    """Its name."""
    checkpoint: Checkpoint
    weights_sha256: str
    model: nn.Module

    def to_json(self) -> dict[str, str]:
        """For the manifest."""
        return {
            "cell": self.cell,
            "checkpoint": self.checkpoint,
            "weights_sha256": self.weights_sha256,
        }


def load_needed(
    cell: Cell, folder: CellFolder, device: torch.device, fast: FastPaths
) -> dict[str, Needed]:
    """What a cell needs, by setting, from the folders beside its own.

    Raises:
        UserError: a cell is not trained, or its files are damaged.
    """
    require_needs(folder, cell)
    found = {}
    for setting, need in cell.needs.items():
        weights = read_weights(needed_folder(folder, need), need.checkpoint)
        model = load_model(need.cell, weights, device).to(memory_format=fast.memory_format)
        found[setting] = Needed(need.cell.name, need.checkpoint, weights.sha256, model)
    return found


def models_of_settings(needed: Mapping[str, Needed]) -> dict[str, nn.Module]:
    """Those that the method's settings ask for."""
    return {setting: one.model for setting, one in needed.items() if setting != EXTRA_LABELS}


def labelled(
    extra: Split,
    needed: Mapping[str, Needed],
    batch_size: int,
    fast: FastPaths,
    check_stop: Callable[[], None],
) -> Split:
    """Extra data, on the device, with its own labels or those that a needed cell's model says.

    Labels are the largest logit of natural images.

    Args:
        extra: with its own labels.
        needed: what the cell needs.
        batch_size: images at a time.
        fast: which quicker ways are taken.
        check_stop: called between batches; may raise to stop.

    Raises:
        UserError: logits are not finite.
    """
    labeller = needed.get(EXTRA_LABELS)
    if labeller is None:
        return extra
    model = quickest(labeller.model, extra, fast)
    try:
        labels = predict(model, extra, batch_size, between_batches=check_stop)
    except UserError as error:
        raise UserError(f"{EXTRA_LABELS}: cell {labeller.cell}: {error}") from None
    return replace(extra, labels=labels.to(extra.labels))
