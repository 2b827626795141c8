"""The way in from a notebook: train a cell, attack it, load its model, hand it on.

from pathlib import Path
from raat_core import api

cell = api.cell({"dataset": "digits", "architecture": "resnet-mini", "method": "raat", ...})
folder = api.train(cell, Path("results/cells") / cell.name)
summary = api.attack(folder, api.standard_attacks(cell.threat_model))
api.export(folder, Path("my-model"), "state-dict")
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import (
    CHECKPOINTS,
    Checkpoint,
    Evaluation,
    attacks_on,
    standard_attacks,
)
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.needs import require_needs
from raat_core.cells.spec import read_cell, write_spec
from raat_core.cells.weights import read_weights
from raat_core.data.dataset import DataSet, identified, load_data_set
from raat_core.errors import UserError
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Shard
from raat_core.evaluation.run import evaluate_cell, load_model
from raat_core.exporting.export import export_cell
from raat_core.exporting.forms import Form
from raat_core.files.locks import exclusive
from raat_core.interface.plugins import load_plugin
from raat_core.training.given import take_weights
from raat_core.training.loop import Training
from raat_core.training.reporter import Reporter
from raat_core.training.signals import StopRequest
from raat_core.validation import parse

__all__ = [
    "Shard",
    "attack",
    "cell",
    "export",
    "join",
    "load",
    "load_data_set",
    "load_plugin",
    "standard_attacks",
    "train",
]


def cell(spec: Mapping[str, Any], source: str = "cell") -> Cell:
    """Validate a cell's spec given as plain data.

    Raises:
        UserError: one line per mistake.
    """
    return parse(Cell, dict(spec), source)


def train(
    cell: Cell,
    folder: Path,
    *,
    device: str = "auto",
    data_root: Path | None = None,
    data: DataSet | None = None,
    extra: DataSet | None = None,
    reporter: Reporter | None = None,
    weights: Path | None = None,
) -> Path:
    """Train a cell in `folder`, or go on where an earlier call stopped; returns the folder.

    A finished cell is not trained again. Cells that it needs are to lie beside its folder, trained,
    each in a folder of its name. On SIGTERM, SIGUSR2 and Ctrl-C the state is saved. While
    another process trains this cell, it is waited for.

    Args:
        cell: what to train.
        folder: the cell's own folder; made if it is not there.
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", ...
        data_root: where data lies; without, the environment's RAAT_DATA, or `data`.
        data: a data set to use instead of loading the cell's.
        extra: the same, of its extra data.
        reporter: is told of every step and epoch.
        weights: the file of a cell whose weights are given; nothing is trained then.

    Raises:
        Interrupted: by a signal, after saving.
        UserError: a cell that it needs is not trained, bad files, a loss that is not finite, a
            folder that cannot be written, or that was moved or taken by another process meanwhile.
    """
    if cell.trains and weights is not None:
        raise UserError(f"weights = '{weights}': cell {cell.name} is trained, and takes no file")
    cell_folder = CellFolder(folder)
    write_spec(cell_folder, cell)
    with StopRequest() as stop, exclusive(folder, "being trained", wait=stop.check) as lock:
        if cell_folder.manifest.exists():
            _require_finished(cell_folder, cell)
            return folder
        if not cell.trains:
            data = data or load_data_set(cell.dataset, data_root, stop.check)
            take_weights(cell, cell_folder, weights, data, pick_device(device), stop.check)
            return folder
        require_needs(cell_folder, cell)
        if cell.extra_data is not None and extra is None:
            extra = load_data_set(cell.extra_data.dataset, data_root, stop.check)
        training = Training(
            cell=cell,
            folder=cell_folder,
            data=identified(data or load_data_set(cell.dataset, data_root, stop.check)),
            extra=extra,
            device=pick_device(device),
            check_stop=stop.check,
            reporter=reporter or Reporter(),
            check_lock=lock.require,
        )
        training.run()
    return folder


def _require_finished(folder: CellFolder, cell: Cell) -> None:
    """A finished cell must be this one, and whole; what training left to resume from is removed."""
    digest = read_manifest(folder)["digest"]
    if digest != cell.digest:
        raise UserError(
            f"{folder.path} was trained as {digest}, by another version of the method or of this "
            f"program; now it would be {cell.digest}, in another folder"
        )
    for checkpoint in CHECKPOINTS:
        read_weights(folder, checkpoint)
    shutil.rmtree(folder.resume, ignore_errors=True)


def attack(
    folder: Path,
    attacks: Sequence[Evaluation] | None = None,
    *,
    checkpoint: Checkpoint = "best",
    device: str = "auto",
    data_root: Path | None = None,
    data: DataSet | None = None,
    report: Any = lambda line: None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Attack a trained cell; batches that were attacked before are not attacked again.

    Args:
        folder: a trained cell's folder.
        attacks: what to run; without, the five columns of Table 1 on the whole test set.
        checkpoint: "best" or "last".
        device: as for `train`.
        data_root: as for `train`.
        data: the data set that the cell was trained on, where that was given.
        report: is told a line per attack, and one whenever a part of it is saved.
        shard: attack only its share of the batches; `join` makes records of all shares.

    Returns:
        {checkpoint, epoch, weights_sha256, attacks: [{label, record, accuracy, samples, seconds}]};
        of a shard as `evaluate_cell`.

    Raises:
        Interrupted: by a signal; finished batches are kept.
        UserError: the cell is not trained, or with other data, or a file is damaged.
    """
    cell_folder = CellFolder(folder)
    trained = read_cell(cell_folder)
    with StopRequest() as stop:
        return evaluate_cell(
            cell_folder,
            attacks_on(trained.threat_model, checkpoint, attacks),
            data or load_data_set(trained.dataset, data_root, stop.check),
            pick_device(device),
            stop.check,
            report,
            shard,
            data_root,
        )


def join(
    folder: Path,
    attacks: Sequence[Evaluation] | None = None,
    *,
    checkpoint: Checkpoint = "best",
    report: Any = lambda line: None,
) -> dict[str, Any]:
    """Make records of attacks whose shards are done; arguments and result as for `attack`.

    Raises:
        UserError: batches are missing (says which), or a record is damaged.
    """
    cell_folder = CellFolder(folder)
    chosen = attacks_on(read_cell(cell_folder).threat_model, checkpoint, attacks)
    return join_cell(cell_folder, chosen, report)


def load(folder: Path, checkpoint: Checkpoint = "best", device: str = "auto") -> nn.Module:
    """A trained cell's model, in evaluation mode, its parameters frozen.

    Raises:
        UserError: the cell is not trained, or its files are damaged.
    """
    cell_folder = CellFolder(folder)
    weights = read_weights(cell_folder, checkpoint)
    return load_model(read_cell(cell_folder), weights, pick_device(device))


def export(
    folder: Path,
    to: Path,
    form: Form = "state-dict",
    *,
    checkpoint: Checkpoint = "best",
    name: str | None = None,
) -> dict[str, Any]:
    """Hand a trained cell's model on: files that need nothing of this package, and a model card.

    Arguments, result and errors as for `raat_core.exporting.export.export_cell`.
    """
    return export_cell(CellFolder(folder), to, form, checkpoint, name)


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU if there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # Some devices hold tensors and compute nothing.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device = {name!r} cannot be used here: {reason}") from None
    return device
