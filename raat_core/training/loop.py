"""The training of one cell, from the first epoch or from where it was left, to its last file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from raat_core.attacks.pgd import Pgd
from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import write_history
from raat_core.cells.spec import write_spec
from raat_core.data.dataset import DataSet, Split, hold_out
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation.accuracy import percent_correct, pgd_batches, predict
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import fast_paths_from_environment
from raat_core.files.provenance import git_commit, hardware, now, scheduler_job
from raat_core.interface.registry import method_class
from raat_core.models.build import build_model_for
from raat_core.randomness import generator
from raat_core.training.optimisers import Sgd
from raat_core.training.outputs import write_results
from raat_core.training.state import Best, Progress, ResumeStore, Trainee, snapshot
from raat_core.training.step import TrainingStep

Row = dict[str, Any]


class Reporter:
    """Is told how far a training is; this one is silent."""

    def started(self, done: int, total: int) -> None:
        """`done` of `total` steps were done by earlier sessions."""

    def step_done(self) -> None:
        """A step was done."""

    def epoch_done(self, row: Row, epochs: int) -> None:
        """An epoch was trained and evaluated: its row of the history."""


@dataclass
class Training:
    """One cell's training: what is fixed, and the progress that changes.

    `check_stop` is called between steps and between batches of an evaluation, where it is safe to
    stop; it raises `Interrupted` to make the training save and leave.
    """

    cell: Cell
    folder: CellFolder
    data: DataSet
    device: torch.device
    check_stop: Callable[[], None] = lambda: None
    reporter: Reporter = field(default_factory=Reporter)
    check_lock: Callable[[], None] = lambda: None
    """Called before anything is written; raises if the folder is not this process's any more."""

    def __post_init__(self) -> None:
        cell, recipe = self.cell, self.cell.recipe
        train, selection = _splits(cell, self.data)
        if len(train) == 0 or len(selection) == 0:
            raise UserError(
                f"selection.validation_fraction = {cell.selection.validation_fraction}: leaves "
                f"{len(train)} images to train on and {len(selection)} to choose the best by"
            )
        fast = fast_paths_from_environment()
        self.train_split, self.selection_split = (
            replace(split.to(self.device), memory_format=fast.memory_format)
            for split in (train, selection)
        )
        self.steps_per_epoch = math.ceil(len(train) / recipe.batch_size)
        use_ieee_arithmetic()
        model = build_model_for(cell.architecture, cell.dataset, cell.seed).to(self.device)
        model.to(memory_format=fast.memory_format)
        optimizer = Sgd(model, recipe.momentum, recipe.weight_decay)
        method = method_class(cell.method.name)(cell.method)
        self.trainee = Trainee(model, optimizer, method)
        self.frozen = FrozenModels(fast)
        self.store = ResumeStore(self.folder.resume, cell.digest)
        self.progress = Progress()

    def run(self) -> None:
        """Train to the end and write the cell's files; continues where an earlier run stopped.

        Raises:
            Interrupted: `check_stop` asked for it; the state is saved.
            UserError: a loss term, a weight or a logit is not finite (says which and where), a
                batch is too small for BatchNorm, a file cannot be written, or no state in the
                folder is whole.
        """
        write_spec(self.folder, self.cell)
        self.progress = self.store.load(self.trainee) or self.progress
        self._begin_session()
        epochs = self.cell.recipe.epochs
        done = self.progress.epoch * self.steps_per_epoch + self.progress.step
        self.reporter.started(done, epochs * self.steps_per_epoch)
        try:
            while self.progress.epoch < epochs:
                self._run_epoch()
                self._save()
        except Interrupted:
            self._check_numbers()
            self._save()
            raise
        self.check_lock()
        write_results(
            self.folder, self.cell, self.trainee, self.progress, data_sha256=self.data.sha256
        )
        self.store.remove()

    def _begin_session(self) -> None:
        self.progress.sessions.append(
            {
                "start": now(),
                "end": now(),
                "from_epoch": self.progress.epoch,
                "from_step": self.progress.step,
                "git_commit": git_commit(),
                "scheduler_job": scheduler_job(),
                "fast_paths": self.frozen.fast.names,
                **hardware(self.device),
            }
        )

    def _save(self) -> None:
        self.check_lock()
        self.progress.sessions[-1]["end"] = now()
        self.store.save(self.trainee, self.progress)
        if self.progress.history:
            write_history(self.folder, self.progress.history)

    def _run_epoch(self) -> None:
        """Train and evaluate one epoch, from the step where it was left."""
        progress = self.progress
        started = time.monotonic() - progress.epoch_seconds
        try:
            self._run_steps()
            self._check_numbers()
            row = self._evaluate()
        finally:
            progress.epoch_seconds = time.monotonic() - started
        row["seconds"] = round(progress.epoch_seconds, 3)
        progress.finish_epoch(row)
        self.reporter.epoch_done(row, self.cell.recipe.epochs)

    def _run_steps(self) -> None:
        progress, batch_size = self.progress, self.cell.recipe.batch_size
        learning_rate = self.cell.recipe.learning_rate_at(progress.epoch)
        self.trainee.model.train()
        draws = generator("cpu", self.cell.seed, "shuffle", progress.epoch)
        order = torch.randperm(len(self.train_split), generator=draws).to(self.device)
        for indices in torch.split(order, batch_size)[progress.step :]:
            self.check_stop()
            step = TrainingStep.draw(
                self.cell,
                self.trainee.model,
                self.frozen,
                self.train_split,
                indices,
                views=self.trainee.method.views,
                epoch=progress.epoch,
                number=progress.step,
            )
            with self._explaining_lone_values():
                terms = self.trainee.update(step, learning_rate)
            progress.finish_step(terms)
            self.reporter.step_done()
        self.check_stop()
        if not progress.epoch_hook_done:
            self.trainee.method.after_epoch(progress.epoch)
            progress.epoch_hook_done = True

    def _check_numbers(self) -> None:
        """Refuse to evaluate or to save what is not finite."""
        self._check_terms()
        self._check_weights()

    def _check_terms(self) -> None:
        """Refuse to go on, or to save, after a loss that was not finite.

        Looked at once an epoch, so that no step waits for the device.
        """
        terms = self.progress.terms
        if not terms:
            return
        values = torch.stack(terms)
        bad = torch.nonzero(~values.isfinite())
        if len(bad) > 0:
            step, term = bad[0].tolist()
            raise UserError(
                f"the loss is not finite: term '{self.progress.term_names[term]}' is "
                f"{values[step, term].item()} at epoch {self.progress.epoch + 1}, step {step + 1} "
                f"of cell {self.cell.name}"
            )

    def _check_weights(self) -> None:
        """Refuse to evaluate or to save weights that are not finite.

        A finite loss can have gradients that are not: the last step of an epoch leaves them in the
        weights, and no later loss tells. Looked at once an epoch, as losses are.
        """
        trainee = self.trainee
        tensors = {
            **{f"weight '{name}'": t for name, t in trainee.model.state_dict().items()},
            **{f"momentum of '{n}'": t for n, t in trainee.optimizer.momentum_buffers.items()},
            **{f"the method's '{name}'": t for name, t in trainee.method.state().items()},
        }
        tensors = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
        if not tensors:
            return
        finite = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
        if not all(finite):
            first = list(tensors)[finite.index(False)]
            raise UserError(
                f"the weights are not finite: {first} holds NaN or infinity at epoch "
                f"{self.progress.epoch + 1}, after step {self.progress.step} of cell "
                f"{self.cell.name}"
            )

    @contextmanager
    def _explaining_lone_values(self) -> Iterator[None]:
        """A batch of one image has no variance where a layer sees it as a single pixel."""
        try:
            yield
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"recipe.batch_size = {self.cell.recipe.batch_size}: BatchNorm needs more than one "
                f"value per channel, and {self.cell.architecture} has one at epoch "
                f"{self.progress.epoch + 1}, step {self.progress.step + 1}, where so few images "
                f"are forwarded; choose another batch_size"
            ) from error

    def _evaluate(self) -> Row:
        """The epoch's row of the history; the best weights are kept if these are them."""
        progress, selection = self.progress, self.cell.selection
        epoch, epochs = progress.epoch + 1, self.cell.recipe.epochs
        means = torch.stack(progress.terms).double().mean(0).tolist()
        row: Row = {
            "epoch": epoch,
            "learning_rate": self.cell.recipe.learning_rate_at(progress.epoch),
            "loss": sum(means),
            **{f"loss_{name}": mean for name, mean in zip(progress.term_names, means, strict=True)},
        }
        due = epoch % selection.every == 0 or epoch == epochs
        row.update(self._accuracy_columns(due))
        robust = row["robust_accuracy"]
        if robust is not None and (progress.best is None or robust > progress.best.accuracy):
            progress.best = Best(epoch, robust, snapshot(self.trainee.reported))
        return row

    def _accuracy_columns(self, due: bool) -> Row:
        """Accuracies of all models that the method names, None if they are not `due`."""
        columns: Row = {}
        measured: dict[nn.Module, tuple[float, float]] = {}
        for name, model in self.trainee.evaluated.items():
            if due and model not in measured:
                measured[model] = self._accuracies(model)
            prefix = f"{name}_" if columns else ""
            clean, robust = measured.get(model, (None, None))
            columns.update({f"{prefix}clean_accuracy": clean, f"{prefix}robust_accuracy": robust})
        return columns

    def _accuracies(self, model: nn.Module) -> tuple[float, float]:
        """Clean and PGD accuracy on the selection split, in percent.

        The attack starts from the same noise whatever else is evaluated.
        """
        split, cell = self.selection_split, self.cell
        threat = cell.threat_model
        pgd = Pgd(threat.norm, float(threat.epsilon), float(threat.step_size), cell.selection.steps)
        batch_size = cell.selection.batch_size
        images, _ = split.batch(torch.arange(1))
        try:
            with self.frozen.frozen(model, images) as frozen:
                attack = pgd_batches(frozen, pgd, cell.seed, "selection", self.progress.epoch)
                clean = predict(frozen, split, batch_size, between_batches=self.check_stop)
                robust = predict(frozen, split, batch_size, attack, self.check_stop)
        except UserError as error:
            where = f"after epoch {self.progress.epoch + 1} of cell {cell.name}"
            raise UserError(f"{where}: {error}") from None
        return percent_correct(clean, split.labels), percent_correct(robust, split.labels)


def _splits(cell: Cell, data: DataSet) -> tuple[Split, Split]:
    """What is trained on and what the best checkpoint is chosen on."""
    if cell.selection.split == "test":
        return data.train, data.test
    return hold_out(data.train, cell.selection.validation_fraction)
