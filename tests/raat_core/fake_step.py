"""A training step without attacks or random draws, which records what an objective asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from raat_core.methods.base import AttackObjective, BatchNormMode, Start


@dataclass(frozen=True)
class Forward:
    """One forward through the model."""

    images: Tensor
    mode: BatchNormMode
    with_gradient: bool


@dataclass(frozen=True)
class Attack:
    """One call of `Step.attack`."""

    objective: AttackObjective
    start: Start
    radius: float
    name: str


@dataclass
class FakeStep:
    """Implements `raat_core.methods.Step` with given adversarial images and given draws of beta.

    `adversarial` maps an attack's radius to its result on the stacked views, (V*B, C, H, W);
    `draws` holds one beta per sample, (B,).
    """

    model: nn.Module
    views: tuple[Tensor, ...]
    natural: Tensor
    labels: Tensor
    adversarial: Mapping[float, Tensor]
    draws: Tensor
    epoch: int = 0
    number: int = 0
    indices: Tensor = field(init=False)
    forwards: list[Forward] = field(default_factory=list)
    attacks: list[Attack] = field(default_factory=list)
    betas: list[tuple[float, int]] = field(default_factory=list)
    """What was asked of `beta`: concentration and size."""

    def __post_init__(self) -> None:
        self.indices = torch.arange(len(self.labels))

    def stacked_views(self) -> tuple[Tensor, Tensor]:
        return torch.cat(self.views), self.labels.repeat(len(self.views))

    def forward(self, images: Tensor, batchnorm: BatchNormMode = "train") -> Tensor:
        self.forwards.append(Forward(images.detach(), batchnorm, torch.is_grad_enabled()))
        self.model.train(batchnorm == "train")
        logits: Tensor = self.model(images)
        return logits

    def logits(self, images: Tensor, batchnorm: BatchNormMode = "eval") -> Tensor:
        with torch.no_grad():
            return self.forward(images, batchnorm)

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
        expected_images, expected_labels = self.stacked_views()
        assert torch.equal(images, expected_images), "only the stacked views can be attacked"
        assert torch.equal(labels, expected_labels)
        assert name not in [attack.name for attack in self.attacks], "same noise for two attacks"
        self.attacks.append(Attack(objective, start, radius, name))
        return self.adversarial[radius]

    def beta(self, concentration: float, size: int, *, name: str = "beta") -> Tensor:
        self.betas.append((concentration, size))
        return self.draws[:size]

    def take(self, positions: Tensor, views: int = 2) -> FakeStep:
        """A step with the samples at `positions`, their first `views` views, and empty records."""
        stacked = torch.cat([positions + view * len(self.labels) for view in range(views)])
        return replace(
            self,
            views=tuple(view[positions] for view in self.views[:views]),
            natural=self.natural[positions],
            labels=self.labels[positions],
            adversarial={radius: images[stacked] for radius, images in self.adversarial.items()},
            draws=self.draws[positions],
            forwards=[],
            attacks=[],
            betas=[],
        )
