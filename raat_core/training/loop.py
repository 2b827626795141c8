"""The training of one cell, from the first epoch or from where it was left, to its last file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from raat_core.cells.cell import EXTRA_LABELS, Cell
from raat_core.cells.extensions import extensions_of
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import write_history
from raat_core.cells.spec import write_spec
from raat_core.data.augment import augment
from raat_core.data.dataset import DataSet, Split
from raat_core.errors import Interrupted
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.switches import FastPaths, fast_paths_from_environment
from raat_core.files.provenance import git_commit, hardware, now, scheduler_job
from raat_core.randomness import generator, seeded_on
from raat_core.training.checks import explaining_lone_values, require_finite, require_logits
from raat_core.training.extra import JoinedSplit, require_extra, with_extra
from raat_core.training.needed import labelled, load_needed, models_of_settings
from raat_core.training.outputs import write_results
from raat_core.training.reporter import Reporter, Row
from raat_core.training.selection import Selector, splits
from raat_core.training.state import Progress, ResumeStore
from raat_core.training.trainee import Trainee


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
    extra: DataSet | None = None
    """The data set that the cell's `extra_data` names, if it has any."""

    def __post_init__(self) -> None:
        if (self.extra is None) != (self.cell.extra_data is None):
            raise ValueError("extra: must be given where the cell has extra data, and only there")
        train, selection = splits(self.cell, self.data)
        fast = fast_paths_from_environment()
        self.train_split: Split | JoinedSplit
        self.train_split, selection_split = (
            replace(split.to(self.device), memory_format=fast.memory_format)
            for split in (train, selection)
        )
        use_ieee_arithmetic()
        self.needed = load_needed(self.cell, self.folder, self.device, fast)
        extra_size = 0 if self.extra is None else len(self.extra.train)
        self.trainee = Trainee.build(self.cell, self.device, fast, len(train), extra_size)
        self.trainee.method.needed = models_of_settings(self.needed)
        one, _ = self.train_split.batch(torch.arange(1, device=self.device))
        require_logits(self.trainee.model, one, self.data.classes, self.cell.architecture)
        if self.extra is not None:
            self.train_split = self._joined(self.train_split, self.extra, fast)
        self.steps_per_epoch = self.trainee.method.cell.steps_per_epoch
        self.selector = Selector(self.trainee, selection_split, self.check_stop)
        needs = {setting: one.to_json() for setting, one in self.needed.items()}
        self.store = ResumeStore(
            self.folder.resume, self.cell.digest, extensions_of(self.cell), needs, self._checksums()
        )
        self.progress = Progress()

    def _joined(self, train: Split, extra: DataSet, fast: FastPaths) -> JoinedSplit:
        """Training images and extra ones, labelled, on the device."""
        images = require_extra(extra, self.data, EXTRA_LABELS in self.needed).to(self.device)
        images = replace(images, memory_format=fast.memory_format)
        batch_size = self.cell.selection.batch_size
        return JoinedSplit(train, labelled(images, self.needed, batch_size, fast, self.check_stop))

    def run(self) -> None:
        """Train to the end and write the cell's files; continues where an earlier run stopped.

        Raises:
            Interrupted: `check_stop` asked for it; the state is saved.
            UserError: a loss term, a weight or a logit is not finite (says which and where), a
                batch is too small for BatchNorm, a file cannot be written, or no state in the
                folder is whole.
        """
        write_spec(self.folder, self.cell)
        resumed = self.store.load(self.trainee)
        if resumed is None:
            self.trainee.start()
        else:
            self.progress = resumed
        self._begin_session()
        epochs = self.cell.recipe.epochs
        done = self.progress.epoch * self.steps_per_epoch + self.progress.step
        self.reporter.started(done, epochs * self.steps_per_epoch)
        try:
            while self.progress.epoch < epochs and not self._has_lost_patience():
                self._run_epoch()
                self._save()
        except Interrupted:
            require_finite(self.trainee, self.progress)
            self._save()
            raise
        self.check_lock()
        best = self.progress.best
        assert best is not None, "the last epoch is always evaluated"
        warnings = self.selector.warnings(best, self.progress.epoch)
        write_results(self.folder, self.trainee, self.progress, best, warnings, self._sources())
        self.store.remove()

    def _has_lost_patience(self) -> bool:
        """Whether the recipe's `patience` ends the training here, after an epoch."""
        patience, progress = self.cell.recipe.patience, self.progress
        if patience is None or progress.best is None or progress.step > 0:
            return False
        # Only where the last epoch was evaluated: its models are reported, too.
        evaluated = progress.history[-1]["clean_accuracy"] is not None
        return evaluated and progress.epoch - progress.best.epoch >= patience

    def _sources(self) -> dict[str, Any]:
        """What the weights were made from, for the manifest."""
        sources: dict[str, Any] = {**self._checksums()}
        if self.needed:
            sources["needs"] = self.store.needs
        return sources

    def _checksums(self) -> dict[str, str | None]:
        """Of the data."""
        found = {"data_sha256": self.data.sha256}
        if self.extra is not None:
            found["extra_data_sha256"] = self.extra.sha256
        return found

    def _begin_session(self) -> None:
        self.progress.sessions.append(
            {
                "start": now(),
                "end": now(),
                "from_epoch": self.progress.epoch,
                "from_step": self.progress.step,
                "git_commit": git_commit(),
                "scheduler_job": scheduler_job(),
                "fast_paths": self.trainee.frozen.fast.names,
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
            require_finite(self.trainee, progress)
            row = self._evaluate()
        finally:
            progress.epoch_seconds = time.monotonic() - started
        row["seconds"] = round(progress.epoch_seconds, 3)
        progress.finish_epoch(row)
        self.reporter.epoch_done(row, self.cell.recipe.epochs)

    def batches(self, epoch: int) -> list[Tensor]:
        """An epoch's batches (epochs from 0): positions of their samples, each (B,) int64."""
        facts = self.trainee.method.cell
        draws = generator("cpu", self.cell.seed, "shuffle", epoch)
        order = torch.randperm(facts.train_size, generator=draws).to(self.device)
        batches = torch.split(order, facts.recipe.batch_size - facts.extra_per_batch)
        return with_extra(batches[: facts.steps_per_epoch], facts, epoch)

    def _run_steps(self) -> None:
        progress = self.progress
        self.trainee.model.train()
        for indices in self.batches(progress.epoch)[progress.step :]:
            self.check_stop()
            step = self.trainee.draw(self.train_split, indices, progress.epoch, progress.step)
            where, method = (
                f"epoch {progress.epoch + 1}, step {progress.step + 1}",
                self.trainee.method,
            )
            with explaining_lone_values(self.cell, where, len(indices), method):
                terms = self.trainee.update(step)
            progress.finish_step(terms)
            self.reporter.step_done()
        self.check_stop()
        if not progress.epoch_hook_done:
            self.trainee.method.after_epoch(progress.epoch, self.trainee.model)
            if self.trainee.average is not None:
                self.trainee.average.after_epoch(progress.epoch)
            progress.epoch_hook_done = True

    def _evaluate(self) -> Row:
        """The epoch's row of the history; the best weights are kept if these are them."""
        progress = self.progress
        means = torch.stack(progress.terms).double().mean(0).tolist()
        last_step = self.trainee.method.cell.moment(progress.epoch, self.steps_per_epoch - 1)
        self._estimate_statistics()
        row: Row = {
            "epoch": progress.epoch + 1,
            "learning_rate": self.cell.recipe.learning_rate_at(last_step),
            "loss": sum(means),
            **{f"loss_{name}": mean for name, mean in zip(progress.term_names, means, strict=True)},
            **self.selector.columns(progress.epoch),
        }
        progress.best = self.selector.best(progress.best, progress.epoch, row)
        return row

    def _estimate_statistics(self) -> None:
        """BatchNorm's, of an average whose weights no training step has forwarded."""
        average = self.trainee.average
        due = self.selector.is_due(self.progress.epoch)
        if average is not None and average.asks_images and due:
            where = f"the end of epoch {self.progress.epoch + 1}, for the average's statistics"
            with (
                seeded_on(self.device, self.cell.seed, "statistics", self.progress.epoch),
                explaining_lone_values(self.cell, where, images=1),
            ):
                average.estimate(self._augmented())

    def _augmented(self) -> Iterator[Tensor]:
        """The training images in their order, augmented once, batch by batch."""
        cell, split = self.cell, self.train_split
        positions = torch.arange(self.trainee.method.cell.train_size, device=self.device)
        for number, indices in enumerate(torch.split(positions, cell.recipe.batch_size)):
            self.check_stop()
            images, _ = split.batch(indices)
            draws = generator(images.device, cell.seed, "statistics", self.progress.epoch, number)
            yield augment(images, cell.recipe.augmentation, draws)
