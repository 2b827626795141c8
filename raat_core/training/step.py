"""What a method sees of a training step: a batch, the model, attacks and draws."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Real

import torch
from torch import Tensor, nn

from raat_core.attacks.pgd import Live, PerSample, Pgd
from raat_core.cells.cell import Cell
from raat_core.data.augment import augment
from raat_core.data.dataset import Split
from raat_core.errors import UserError
from raat_core.fast.arithmetic import compute_logits, in_arithmetic
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.repeats import watch_statistics
from raat_core.interface.facts import CellFacts
from raat_core.interface.l2 import PLAIN_L2, L2Details
from raat_core.interface.losses import smoothed_cross_entropy
from raat_core.interface.step import AttackObjective, BatchNormMode, LogitsMode, OnIterate, Start
from raat_core.models.modes import in_mode, statistics_at_rest
from raat_core.randomness import NamedDraws, generator
from raat_core.training.extra import JoinedSplit
from raat_core.training.perturbation import Remembered
from raat_core.validation import require_one_of


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
    facts: CellFacts
    used: set[str] = field(default_factory=set)
    """What the objective asked for, of that which a recipe needs it to ask for."""
    remembered: Remembered | None = None
    """Of a step whose loss is computed twice."""
    at_rest: bool = False
    """Whether forwards in training mode leave BatchNorm's statistics as they are."""

    @classmethod
    def draw(
        cls, cell: Cell, model: nn.Module, frozen: FrozenModels, split: Split | JoinedSplit,
        indices: Tensor, views: int, epoch: int, number: int, facts: CellFacts | None = None,
    ) -> TrainingStep:  # fmt: skip
        """Fetch the samples at `indices` and augment them `views` times.

        `facts`: without, as `Cell.facts` has them.
        """
        natural, labels = split.batch(indices)
        augmented = tuple(
            augment(
                natural,
                cell.recipe.augmentation,
                generator(natural.device, cell.seed, "augment", epoch, number, view),
            )
            for view in range(views)
        )
        facts = facts or cell.facts()
        return cls(cell, model, frozen, epoch, number, augmented, natural, labels, indices, facts)

    @property
    def extra(self) -> Tensor:
        """See `Step.extra`."""
        return self.indices >= self.facts.train_size

    @property
    def overall(self) -> int:
        """See `Step.overall`."""
        return self.epoch * self.facts.steps_per_epoch + self.number

    @property
    def learning_rate(self) -> float:
        """See `Step.learning_rate`."""
        return self.cell.recipe.learning_rate_at(self.facts.moment(self.epoch, self.number))

    @property
    def attack_batchnorm(self) -> BatchNormMode:
        """See `Step.attack_batchnorm`."""
        return self.cell.recipe.attack_batchnorm

    def stacked_views(self) -> tuple[Tensor, Tensor]:
        """See `Step.stacked_views`."""
        return torch.cat(self.views), self.labels.repeat(len(self.views))

    def forward(self, images: Tensor, batchnorm: BatchNormMode = "train") -> Tensor:
        """See `Step.forward`."""
        require_one_of("step.forward: batchnorm", batchnorm, BatchNormMode)
        resting = statistics_at_rest(self.model) if self.at_rest else nullcontext()
        with in_mode(self.model, training=batchnorm == "train"), resting:
            return compute_logits(self.model, images, self.cell.precision.training)

    def forward_repeatably(self, images: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """See `Step.forward_repeatably`."""
        compute = partial(self.forward, images)
        if not self.frozen.fast.repeats or self.at_rest:
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
        require_one_of("step.logits: batchnorm", batchnorm, LogitsMode)
        return self._once(lambda _: self._logits(images, batchnorm, model or self.model))

    def _logits(self, images: Tensor, batchnorm: LogitsMode, model: nn.Module) -> Tensor:
        arithmetic = self.cell.precision.training
        with torch.no_grad(), in_arithmetic(arithmetic):
            if batchnorm == "eval":
                return self.frozen.logits(model, images, arithmetic)
            at_rest = statistics_at_rest(model) if batchnorm == "batch" else nullcontext()
            with in_mode(model, training=True), at_rest:
                return compute_logits(model, images, arithmetic)

    def attack(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        objective: AttackObjective | PerSample = "cross-entropy",
        start: Start | Tensor = "uniform",
        radius: float | Tensor = 1.0,
        steps: int | None = None,
        step_size: float | None = None,
        in_ball: bool = True,
        l2: L2Details = PLAIN_L2,
        on_iterate: OnIterate | None = None,
        model: nn.Module | None = None,
        name: str = "attack",
    ) -> Tensor:
        """See `Step.attack`."""
        threat = self.cell.threat_model
        scale = 1.0 if isinstance(radius, Tensor) else radius
        _require_sizes(images, radius, start, step_size)
        pgd = Pgd(
            norm=threat.norm,
            epsilon=scale * float(threat.epsilon),
            step_size=scale * (float(threat.step_size) if step_size is None else step_size),
            steps=threat.steps if steps is None else steps,
            objective="cross-entropy" if callable(objective) else objective,
            start="clean" if isinstance(start, Tensor) else start,
            in_ball=in_ball,
            l2=l2,
        )
        live = Live(
            objective=objective if callable(objective) else None,
            radii=radius if isinstance(radius, Tensor) else None,
        )

        def attack(on_iterate: OnIterate | None) -> Tensor:
            if isinstance(start, Tensor):
                begun = pgd.project(images, start, live)
            else:
                draws = generator(images.device, self.cell.seed, name, self.epoch, self.number)
                begun = pgd.perturb(images, draws, live)
            shown = replace(live, on_iterate=on_iterate)
            return self._attack(pgd, images, labels, begun, shown, model)

        return self._once(attack, on_iterate)

    def _attack(
        self, pgd: Pgd, images: Tensor, labels: Tensor, begun: Tensor, live: Live,
        model: nn.Module | None,
    ) -> Tensor:  # fmt: skip
        """All steps from `begun` on, on a copy of the model or, in training mode, on itself."""
        arithmetic = self.cell.precision.attack
        with in_arithmetic(arithmetic):
            if self.attack_batchnorm == "eval" or model is not None:
                attacked = model or self.model
                return self.frozen.attack(pgd, attacked, images, labels, begun, arithmetic, live)
            with in_mode(self.model, training=True):
                return pgd.ascend(self._train_logits, images, labels, begun, live)

    def _train_logits(self, images: Tensor) -> Tensor:
        """While the attack runs in training mode."""
        return compute_logits(self.model, images, self.cell.precision.attack)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Step.cross_entropy`."""
        self.used.add("cross_entropy")
        return smoothed_cross_entropy(logits, labels, self.cell.recipe.label_smoothing)

    def draws(self, name: str) -> NamedDraws:
        """See `Step.draws`."""
        return NamedDraws(self.natural.device, self.cell.seed, name, self.epoch, self.number)

    def _once(
        self, compute: Callable[[OnIterate | None], Tensor], on_iterate: OnIterate | None = None
    ) -> Tensor:
        """What is asked without gradients, which is the same however often the loss is computed."""
        if self.remembered is None:
            return compute(on_iterate)
        return self.remembered.once(compute, on_iterate)


def _require_sizes(images: Tensor, radius: object, start: object, step_size: object) -> None:
    """Refuse what an attack would take for something else.

    Raises:
        UserError: says what it has to be.
    """
    if isinstance(radius, Tensor):
        if radius.shape != images.shape[:1]:
            raise UserError(
                f"step.attack: radius: a tensor of shape {tuple(radius.shape)}: must be a number, "
                f"or a tensor of shape ({len(images)},)"
            )
    elif not isinstance(radius, Real):
        raise UserError(f"step.attack: radius = {radius!r}: must be a number or a tensor")
    if step_size is not None and not isinstance(step_size, Real):
        raise UserError(f"step.attack: step_size = {step_size!r}: must be a number")
    if isinstance(start, Tensor) and start.shape != images.shape:
        raise UserError(
            f"step.attack: start: a tensor of shape {tuple(start.shape)}: must be like the images, "
            f"{tuple(images.shape)}"
        )
