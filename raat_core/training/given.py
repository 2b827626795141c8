"""In place of a training: weights that were trained elsewhere become a cell's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import CHECKPOINTS
from raat_core.cells.extensions import as_metadata, extensions_of
from raat_core.cells.folder import CellFolder
from raat_core.data.dataset import DataSet
from raat_core.data.sampling import stratified
from raat_core.errors import UserError
from raat_core.evaluation.accuracy import percent_correct, predicted_classes, require_classes
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.files.checksums import write_sealed_json
from raat_core.files.provenance import git_commit, hardware, now, scheduler_job, versions
from raat_core.interface.registry import method_class
from raat_core.methods.given import GivenSettings
from raat_core.models.build import build_model_for
from raat_core.models.fitting import Fitted, fit
from raat_core.models.foreign import candidates, read_tensors
from raat_core.training.outputs import counted_operations, write_weights
from raat_core.validation import one_line

GIVEN = "given"
"""What manifests say of how the best checkpoint was chosen."""
TRIED = 256
"""Test images that weights are tried on."""
NEAR_CHANCE = 2.0
"""Times what guessing has: below, something of the model is probably not as in its training."""


def take_weights(
    cell: Cell,
    folder: CellFolder,
    path: Path | None,
    data: DataSet,
    device: torch.device,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Write the files of a cell whose weights are given; the manifest is the last.

    Args:
        cell: whose method is `given`.
        folder: the cell's.
        path: of the file of weights.
        data: whose test images the weights are tried on, and are to be attacked.
        device: where that is done.
        check_stop: called between steps; may raise to stop.

    Raises:
        UserError: the file is missing, is another one than the cell's, does not fit the
            architecture, or its logits are not finite or not as many as classes.
    """
    settings = cell.method
    assert isinstance(settings, GivenSettings)
    begun = now()
    content = _read(cell, settings, path)
    assert path is not None
    check_stop()
    model = build_model_for(cell.architecture, cell.dataset, cell.seed)
    fitted = fit(model, candidates(read_tensors(path, content), settings.key, path), settings, path)
    del content
    model.load_state_dict(dict(fitted.tensors))
    check_stop()
    accuracy = _try(model.to(device).eval(), data, device, path)
    tensors = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    checksums = {
        checkpoint: write_weights(folder, checkpoint, cell, tensors, epoch=0)
        for checkpoint in CHECKPOINTS
    }
    session = {
        "start": begun,
        "end": now(),
        "git_commit": git_commit(),
        "scheduler_job": scheduler_job(),
        **hardware(device),
    }
    given = {
        "path": str(path.absolute()),
        **_described(fitted),
        "tried_on": min(TRIED, len(data.test)),
        **_warning(accuracy, data.classes),
    }
    manifest: dict[str, Any] = {
        "cell": cell.name,
        "digest": cell.digest,
        "variant": settings.variant,
        "method_version": method_class(settings.name).version,
        "finished": now(),
        "train_seconds": 0.0,
        "gpu_hours": 0.0,
        "epochs": 0,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "best": {"epoch": 0, "chosen_by": GIVEN, "split": "", "accuracy": accuracy},
        "weights_sha256": checksums,
        "given": given,
        "data_sha256": data.sha256,
        "versions": versions(),
        **as_metadata(extensions_of(cell)),
        **counted_operations(cell),
        "sessions": [session],
        "spec": cell.to_json(),
    }
    write_sealed_json(folder.manifest, manifest)


def _read(cell: Cell, settings: GivenSettings, path: Path | None) -> bytes:
    """The file's bytes, which are those that the cell is named for."""
    if path is None:
        raise UserError(
            f"cell {cell.name} has given weights, of SHA-256 {settings.sha256}; say where that "
            f"file is: --weights FILE"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(one_line(f"weights = '{path}': cannot be read: {error.strerror}")) from None
    found = hashlib.sha256(content).hexdigest()
    if found != settings.sha256:
        raise UserError(
            one_line(
                f"weights = '{path}': this file has SHA-256 {found[:12]}…, cell {cell.name} is of "
                f"{settings.sha256[:12]}…: it was replaced since the cell was planned; put it "
                f"back, or plan again to evaluate the new one"
            )
        )
    return content


def _described(fitted: Fitted) -> dict[str, Any]:
    """What was made of the file, as far as there is something to say."""
    said = {
        "key": fitted.key,
        "prefix": fitted.prefix,
        "dtypes": list(fitted.dtypes),
        "kept": list(fitted.kept),
        "ignored": list(fitted.ignored),
    }
    return {key: value for key, value in said.items() if value}


@torch.no_grad()
def _try(model: nn.Module, data: DataSet, device: torch.device, path: Path) -> float:
    """Accuracy in percent on some test images, without attack."""
    use_ieee_arithmetic()
    index = stratified(data.test.labels, min(TRIED, len(data.test)))
    tried = data.test.take(index.to(data.test.labels.device)).to(device)
    images, labels = tried.batch(torch.arange(len(tried), device=device))
    try:
        logits = model(images)
    except Exception as error:  # The user's own code.
        shape = "×".join(map(str, images.shape[1:]))
        raise UserError(
            one_line(
                f"weights = '{path}': the network fails on images of {shape}: "
                f"{type(error).__name__}: {error}"
            )
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (len(images), data.classes):
        made = list(logits.shape[1:]) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"weights = '{path}': the network makes {made} of an image, must be [{data.classes}]: "
            f"a logit for each class"
        )
    predicted = predicted_classes(logits)
    require_classes(predicted, "test images")
    return percent_correct(predicted, labels)


def _warning(accuracy: float, classes: int) -> dict[str, Any]:
    if accuracy >= NEAR_CHANCE * 100 / classes:
        return {}
    return {
        "warning": f"only {accuracy:.1f}% of them are classified correctly without attack: look at "
        f"normalise, at the architecture's arguments and at the order of classes"
    }
