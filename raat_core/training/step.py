"""One training step: a batch is drawn, the method computes its loss, the weights are updated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from raat_core.attacks.pgd import Pgd
from raat_core.cells.cell import Cell
from raat_core.data.augment import augment
from raat_core.data.dataset import Split
from raat_core.fast.arithmetic import compute_logits, in_arithmetic
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.repeats import watch_statistics
from raat_core.fast.switches import FastPaths
from raat_core.interface.method import Method
from raat_core.interface.registry import build_method
from raat_core.interface.step import AttackObjective, BatchNormMode, LogitsMode, Start
from raat_core.models.build import build_model_for
from raat_core.models.modes import in_mode, statistics_at_rest
from raat_core.randomness import generator, numpy_generator
from raat_core.training.optimisers import Sgd


@dataclass(frozen=True)
class Trainee:
    """What is trained: the live objects, whose contents are saved."""

    cell: Cell
    model: nn.Module
    optimizer: Sgd
    method: Method
    frozen: FrozenModels
    """Copies of models for what needs no gradients of weights."""

    @classmethod
    def build(
        cls, cell: Cell, device: torch.device, fast: FastPaths, train_size: int | None = None
    ) -> Trainee:
        """As it is before the first step; weights are a function of the cell's seed.

        Args:
            cell: what is trained.
            device: where.
            fast: which quicker ways are taken.
            train_size: training images; without, as `Cell.facts` has it.
        """
        model = build_model_for(cell.architecture, cell.dataset, cell.seed).to(device).train()
        model.to(memory_format=fast.memory_format)
        optimizer = Sgd(model, cell.recipe.momentum, cell.recipe.weight_decay)
        method = build_method(cell.method, cell.facts(train_size))
        return cls(cell, model, optimizer, method, FrozenModels(fast))

    def draw(self, split: Split, indices: Tensor, epoch: int, number: int) -> TrainingStep:
        """The step on the samples at `indices` (B,), the `number`th of an epoch (both from 0)."""
        views = self.method.views
        return TrainingStep.draw(
            self.cell, self.model, self.frozen, split, indices, views, epoch, number
        )

    def update(self, step: TrainingStep, learning_rate: float) -> dict[str, Tensor]:
        """One step of the optimiser on a batch; returns the loss's terms, scalars by name."""
        with in_arithmetic(self.cell.precision.training):
            terms = self.method.loss(step)
            self.optimizer.zero_grad()  # Of backwards within `loss`.
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
            self.optimizer.step(learning_rate)
            self.method.after_step(step)
            self.optimizer.zero_grad()  # The next step's graph takes their memory.
        return terms

    @property
    def evaluated(self) -> dict[str, nn.Module]:
        """See `Method.evaluated`."""
        return self.method.evaluated(self.model)

    @property
    def reported(self) -> nn.Module:
        """The model whose weights are the training's result."""
        return next(iter(self.evaluated.values()))


@dataclass(frozen=True)
class TrainingStep:
    """What a method sees of a step: implements `raat_core.interface.Step`."""

    cell: Cell
    model: nn.Module
    frozen: FrozenModels
    epoch: int
    number: int
    views: tuple[Tensor, ...]
    natural: Tensor
    labels: Tensor
    indices: Tensor

    @classmethod
    def draw(
        cls, cell: Cell, model: nn.Module, frozen: FrozenModels, split: Split, indices: Tensor,
        views: int, epoch: int, number: int,
    ) -> TrainingStep:  # fmt: skip
        """Fetch the samples at `indices` and augment them `views` times."""
        natural, labels = split.batch(indices)
        augmented = tuple(
            augment(
                natural,
                cell.recipe.augmentation,
                generator(natural.device, cell.seed, "augment", epoch, number, view),
            )
            for view in range(views)
        )
        return cls(cell, model, frozen, epoch, number, augmented, natural, labels, indices)

    @property
    def attack_batchnorm(self) -> BatchNormMode:
        """See `Step.attack_batchnorm`."""
        return self.cell.recipe.attack_batchnorm

    def stacked_views(self) -> tuple[Tensor, Tensor]:
        """See `Step.stacked_views`."""
        return torch.cat(self.views), self.labels.repeat(len(self.views))

    def forward(self, images: Tensor, batchnorm: BatchNormMode = "train") -> Tensor:
        """See `Step.forward`."""
        with in_mode(self.model, training=batchnorm == "train"):
            return compute_logits(self.model, images, self.cell.precision.training)

    def forward_repeatably(self, images: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """See `Step.forward_repeatably`."""
        compute = partial(self.forward, images)
        if not self.frozen.fast.repeats:
            return compute(), compute
        with in_mode(self.model, training=True):
            logits, movement = watch_statistics(self.model, compute)
        if movement is None:
            return logits, compute

        def repeat() -> Tensor:
            movement.repeat()
            return logits

        return logits, repeat

    def logits(
        self, images: Tensor, batchnorm: LogitsMode = "eval", model: nn.Module | None = None
    ) -> Tensor:
        """See `Step.logits`."""
        chosen = self.model if model is None else model
        arithmetic = self.cell.precision.training
        with torch.no_grad(), in_arithmetic(arithmetic):
            if batchnorm == "eval":
                return self.frozen.logits(chosen, images, arithmetic)
            at_rest = statistics_at_rest(chosen) if batchnorm == "batch" else nullcontext()
            with in_mode(chosen, training=True), at_rest:
                return compute_logits(chosen, images, arithmetic)

    def attack(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        objective: AttackObjective = "cross-entropy",
        start: Start = "uniform",
        radius: float = 1.0,
        name: str = "attack",
    ) -> Tensor:
        """See `Step.attack`."""
        threat = self.cell.threat_model
        pgd = Pgd(
            norm=threat.norm,
            epsilon=radius * float(threat.epsilon),
            step_size=radius * float(threat.step_size),
            steps=threat.steps,
            objective=objective,
            start=start,
        )
        draws = generator(images.device, self.cell.seed, name, self.epoch, self.number)
        arithmetic = self.cell.precision.attack
        with in_arithmetic(arithmetic):
            if self.attack_batchnorm == "eval":
                return self.frozen.attack(pgd, self.model, images, labels, draws, arithmetic)
            with in_mode(self.model, training=True):
                return pgd.run(self._train_logits, images, labels, draws)

    def _train_logits(self, images: Tensor) -> Tensor:
        """While the attack runs in training mode."""
        return compute_logits(self.model, images, self.cell.precision.attack)

    def beta(self, concentration: float, size: int, *, name: str = "beta") -> Tensor:
        """See `Step.beta`."""
        draws = numpy_generator(self.cell.seed, name, self.epoch, self.number)
        values = draws.beta(concentration, concentration, size)
        return torch.from_numpy(values).to(self.natural.device, self.natural.dtype)
