"""A training step without attacks or random draws, which records what an objective asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from raat_core.interface.l2 import PLAIN_L2, L2Details
from raat_core.interface.losses import cross_entropy
from raat_core.interface.step import AttackObjective, BatchNormMode, LogitsMode, OnIterate, Start
from raat_core.models.modes import statistics_at_rest
from raat_core.randomness import NamedDraws


@dataclass(frozen=True)
class Forward:
    """One forward through the model."""

    images: Tensor
    mode: LogitsMode
    with_gradient: bool
    averaged: bool = False
    """Whether it was the averaged model's."""


@dataclass(frozen=True)
class Attack:
    """One call of `Step.attack`."""

    objective: AttackObjective
    start: Start
    radius: float
    name: str
    l2: L2Details


class FakeDraws(NamedDraws):
    """Gives what the step has been given."""

    def __init__(self, step: FakeStep) -> None:
        super().__init__("cpu", 0)
        self.step = step

    def beta(self, concentration: float, size: int) -> Tensor:
        self.step.betas.append((concentration, size))
        return self.step.drawn[:size]


@dataclass
class FakeStep:
    """Implements `raat_core.methods.Step` with given adversarial images and given draws of beta.

    `adversarial` maps an attack's radius to its result on the stacked views, (V*B, C, H, W);
    `drawn` holds one beta per sample, (B,). `average` is what a method that averages weights has
    made of them so far.
    """

    model: nn.Module
    views: tuple[Tensor, ...]
    natural: Tensor
    labels: Tensor
    adversarial: Mapping[float, Tensor]
    drawn: Tensor
    epoch: int = 0
    number: int = 0
    overall: int = 0
    learning_rate: float = 0.1
    average: nn.Module | None = None
    attack_batchnorm: BatchNormMode = "eval"
    indices: Tensor = field(init=False)
    extra: Tensor = field(init=False)
    forwards: list[Forward] = field(default_factory=list)
    attacks: list[Attack] = field(default_factory=list)
    betas: list[tuple[float, int]] = field(default_factory=list)
    """What was asked of `beta`: concentration and size."""

    def __post_init__(self) -> None:
        self.indices = torch.arange(len(self.labels))
        self.extra = torch.zeros(len(self.labels), dtype=torch.bool)

    def stacked_views(self) -> tuple[Tensor, Tensor]:
        return torch.cat(self.views), self.labels.repeat(len(self.views))

    def forward(self, images: Tensor, batchnorm: BatchNormMode = "train") -> Tensor:
        self.forwards.append(Forward(images.detach(), batchnorm, torch.is_grad_enabled()))
        self.model.train(batchnorm == "train")
        logits: Tensor = self.model(images)
        return logits

    def forward_repeatably(self, images: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        return self.forward(images), partial(self.forward, images)

    def logits(
        self, images: Tensor, batchnorm: LogitsMode = "eval", model: nn.Module | None = None
    ) -> Tensor:
        chosen = self.model if model is None else model
        self.forwards.append(Forward(images, batchnorm, False, chosen is not self.model))
        chosen.train(batchnorm != "eval")
        with torch.no_grad(), statistics_at_rest(chosen) if batchnorm == "batch" else nullcontext():
            logits: Tensor = chosen(images)
        return logits

    def attack(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        objective: AttackObjective | Callable[[Tensor], Tensor] = "cross-entropy",
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
        assert isinstance(objective, str)
        assert isinstance(start, str)
        assert isinstance(radius, float)
        assert (steps, step_size, on_iterate, model) == (None,) * 4
        assert name not in [attack.name for attack in self.attacks], "same noise for two attacks"
        self.attacks.append(Attack(objective, start, radius, name, l2))
        stacked, known = self.stacked_views()
        for first in range(0, len(stacked), len(self.labels)):
            rows = slice(first, first + len(images))
            if torch.equal(images, stacked[rows]):
                assert torch.equal(labels, known[rows])
                return self.adversarial[radius][rows]
        raise AssertionError("only views can be attacked, or all of them stacked")

    def draws(self, name: str) -> FakeDraws:
        assert name == "beta"
        return FakeDraws(self)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels)

    def take(self, positions: Tensor, views: int = 2) -> FakeStep:
        """A step with the samples at `positions`, their first `views` views, and empty records."""
        stacked = torch.cat([positions + view * len(self.labels) for view in range(views)])
        return replace(
            self,
            views=tuple(view[positions] for view in self.views[:views]),
            natural=self.natural[positions],
            labels=self.labels[positions],
            adversarial={radius: images[stacked] for radius, images in self.adversarial.items()},
            drawn=self.drawn[positions],
            forwards=[],
            attacks=[],
            betas=[],
        )
