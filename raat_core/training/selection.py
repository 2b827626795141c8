"""The best checkpoint: accuracies after an epoch, and whether its weights are the best so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from raat_core.attacks.pgd import Pgd
from raat_core.cells.cell import Cell
from raat_core.data.dataset import DataSet, Split, hold_out
from raat_core.errors import UserError
from raat_core.evaluation.accuracy import percent_correct, pgd_batches, predict
from raat_core.evaluation.batch import predict_split
from raat_core.training.noise import warnings_of_noise
from raat_core.training.reporter import Row
from raat_core.training.state import Best, snapshot
from raat_core.training.trainee import Trainee


def splits(cell: Cell, data: DataSet) -> tuple[Split, Split]:
    """What is trained on and what the best checkpoint is chosen on.

    Raises:
        UserError: one of them is empty.
    """
    train, selection = data.train, data.test
    if cell.selection.split == "validation":
        train, selection = hold_out(data.train, cell.selection.validation_fraction)
    if len(train) == 0 or len(selection) == 0:
        raise UserError(
            f"selection.validation_fraction = {cell.selection.validation_fraction}: leaves "
            f"{len(train)} images to train on and {len(selection)} to choose the best by"
        )
    return train, selection


@dataclass(frozen=True)
class Selector:
    """Measures the models of a training after its epochs, and keeps the best weights."""

    trainee: Trainee
    split: Split
    """On the device."""
    check_stop: Callable[[], None]

    def is_due(self, epoch: int) -> bool:
        """Whether models are evaluated after an epoch (from 0)."""
        selection, epochs = self.trainee.cell.selection, self.trainee.cell.recipe.epochs
        return (epoch + 1) % selection.every == 0 or epoch + 1 == epochs

    def columns(self, epoch: int) -> Row:
        """Accuracies in percent after an epoch (from 0), of all models that the method names.

        None in epochs whose models are not evaluated.
        """
        due = self.is_due(epoch)
        columns: Row = {}
        measured: dict[nn.Module, tuple[float, float | None]] = {}
        for name, model in self.trainee.evaluated.items():
            if due and model not in measured:
                measured[model] = self._accuracies(model, epoch)
            prefix = f"{name}_" if columns else ""
            clean, robust = measured.get(model, (None, None))
            columns.update({f"{prefix}clean_accuracy": clean, f"{prefix}robust_accuracy": robust})
        return columns

    def best(self, before: Best | None, epoch: int, row: Row) -> Best | None:
        """The best checkpoint after an epoch (from 0), of which `row` says the accuracies.

        Of equals the first stays.
        """
        selection, epochs = self.trainee.cell.selection, self.trainee.cell.recipe.epochs
        accuracy = row["clean_accuracy" if selection.by == "clean" else "robust_accuracy"]
        if selection.by == "last":
            if epoch + 1 < epochs:
                return None
        elif accuracy is None or (before and accuracy <= before.accuracy):
            return before
        return Best(epoch + 1, accuracy, snapshot(self.trainee.reported))

    def warnings(self, best: Best, epochs: int) -> list[str]:
        """Why the best checkpoint of a training of so many epochs may be anything but the best."""
        cell = self.trainee.cell
        return warnings_of_noise(
            cell.selection,
            cell.threat_model,
            best_epoch=best.epoch,
            accuracy=best.accuracy,
            epochs=epochs,
            images=cell.selection.images(len(self.split)),
            classes=self.trainee.method.cell.classes,
        )

    def _accuracies(self, model: nn.Module, epoch: int) -> tuple[float, float | None]:
        """Clean and robust accuracy on the selection split, in percent.

        The attack starts from the same noise whatever else is evaluated. None without an attack.
        """
        split, cell = self.split, self.trainee.cell
        images, _ = split.batch(torch.arange(1))
        try:
            with self.trainee.frozen.frozen(model, images) as frozen:
                size = cell.selection.batch_size
                clean = predict(frozen, split, size, between_batches=self.check_stop)
                robust = self._robust(frozen, epoch)
        except UserError as error:
            raise UserError(f"after epoch {epoch + 1} of cell {cell.name}: {error}") from None
        return percent_correct(clean, split.labels), robust

    def _robust(self, frozen: nn.Module, epoch: int) -> float | None:
        """Accuracy in percent under the attack that is looked at, if there is one."""
        split, cell = self.split, self.trainee.cell
        threat, selection = cell.threat_model, cell.selection
        if selection.by == "clean":
            return None
        if selection.attack is not None:
            found = predict_split(frozen, selection.attack, split, self.check_stop)
            return percent_correct(*found)
        pgd = Pgd(threat.norm, float(threat.epsilon), float(threat.step_size), selection.steps)
        attack = pgd_batches(frozen, pgd, cell.seed, "selection", epoch)
        robust = predict(frozen, split, selection.batch_size, attack, self.check_stop)
        return percent_correct(robust, split.labels)
