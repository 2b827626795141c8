"""One training step as a method sees it: the batch, the model, the attack, the random draws."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raat_core.attacks.pgd import Pgd
from raat_core.data.augment import augment
from raat_core.data.dataset import Split
from raat_core.methods.base import AttackObjective, BatchNormMode, LogitsMode, Start
from raat_core.models.build import in_mode, statistics_at_rest
from raat_core.randomness import generator, numpy_generator
from raat_core.spec import Cell


@dataclass(frozen=True)
class TrainingStep:
    """Implements `raat_core.methods.Step` for one batch of one cell."""

    cell: Cell
    model: nn.Module
    epoch: int
    number: int
    views: tuple[Tensor, ...]
    natural: Tensor
    labels: Tensor
    indices: Tensor

    @classmethod
    def draw(
        cls, cell: Cell, model: nn.Module, split: Split, indices: Tensor, views: int, epoch: int,
        number: int,
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
        return cls(cell, model, epoch, number, augmented, natural, labels, indices)

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
            logits: Tensor = self.model(images)
        return logits

    def logits(
        self, images: Tensor, batchnorm: LogitsMode = "eval", model: nn.Module | None = None
    ) -> Tensor:
        """See `Step.logits`."""
        chosen = self.model if model is None else model
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(in_mode(chosen, training=batchnorm != "eval"))
            if batchnorm == "batch":
                stack.enter_context(statistics_at_rest(chosen))
            logits: Tensor = chosen(images)
        return logits

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
        with in_mode(self.model, training=self.attack_batchnorm == "train"):
            return pgd.run(self.model, images, labels, draws)

    def beta(self, concentration: float, size: int, *, name: str = "beta") -> Tensor:
        """See `Step.beta`."""
        draws = numpy_generator(self.cell.seed, name, self.epoch, self.number)
        values = draws.beta(concentration, concentration, size)
        return torch.from_numpy(values).to(self.natural.device, self.natural.dtype)
