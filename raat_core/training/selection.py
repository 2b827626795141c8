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
        measured: dict[nn.Module, tuple[float, float]] = {}
        for name, model in self.trainee.evaluated.items():
            if due and model not in measured:
                measured[model] = self._accuracies(model, epoch)
            prefix = f"{name}_" if columns else ""
            clean, robust = measured.get(model, (None, None))
            columns.update({f"{prefix}clean_accuracy": clean, f"{prefix}robust_accuracy": robust})
        return columns

    def best(self, before: Best | None, epoch: int, robust_accuracy: float | None) -> Best | None:
        """The best checkpoint after an epoch (from 0): of equals the first stays."""
        if robust_accuracy is None or (before and robust_accuracy <= before.accuracy):
            return before
        return Best(epoch + 1, robust_accuracy, snapshot(self.trainee.reported))

    def _accuracies(self, model: nn.Module, epoch: int) -> tuple[float, float]:
        """Clean and PGD accuracy on the selection split, in percent.

        The attack starts from the same noise whatever else is evaluated.
        """
        split, cell = self.split, self.trainee.cell
        threat = cell.threat_model
        pgd = Pgd(threat.norm, float(threat.epsilon), float(threat.step_size), cell.selection.steps)
        batch_size = cell.selection.batch_size
        images, _ = split.batch(torch.arange(1))
        try:
            with self.trainee.frozen.frozen(model, images) as frozen:
                attack = pgd_batches(frozen, pgd, cell.seed, "selection", epoch)
                clean = predict(frozen, split, batch_size, between_batches=self.check_stop)
                robust = predict(frozen, split, batch_size, attack, self.check_stop)
        except UserError as error:
            raise UserError(f"after epoch {epoch + 1} of cell {cell.name}: {error}") from None
        return percent_correct(clean, split.labels), percent_correct(robust, split.labels)
