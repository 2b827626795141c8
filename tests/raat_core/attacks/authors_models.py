"""Small models and images for attacks of AutoAttack's authors, and their package with few steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from raat_core.evaluation.batch import Samples, run_attack
from raat_core.interface.attack import Attack, Outcome
from raat_core.interface.registry import build_attack, resolve_attack

EPSILON = {"linf": "1/50", "l2": "1/5"}


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the package few steps: all of its attacks run, in a second."""
    original = AutoAttack.__init__

    def shortened(attack: Any, *arguments: Any, **settings: Any) -> None:
        original(attack, *arguments, **settings)
        attack.square.n_queries = 40
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = 4

    monkeypatch.setattr(AutoAttack, "__init__", shortened)


class Small(nn.Module):
    """A network of random weights, some of whose decisions are near to images."""

    def __init__(self, classes: int, channels: int = 1, size: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        self.first = nn.Parameter(torch.randn(16, channels * size**2, generator=generator) / 6)
        self.last = nn.Parameter(torch.randn(classes, 16, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ self.first.T.tanh() @ self.last.T


class Times(nn.Module):
    """A model of something that is done before or after it."""

    def __init__(self, model: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * self.model(images)  # type: ignore[no-any-return]


def some(classes: int, count: int = 24, scale: float = 1.0) -> tuple[nn.Module, Tensor, Tensor]:
    """A model, images (B, 1, 8, 8) and labels (B,), of which a sixth are not what it predicts.

    With large logits the cross-entropy has no slope, and its attack leaves much to the others.
    """
    model = Times(Small(classes), scale).eval().requires_grad_(False)
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    labels[::6] = (labels[::6] + 1) % classes
    return model, images, labels


def attack_of(norm: str = "linf", **settings: Any) -> Attack:
    ball = {"norm": norm, "epsilon": EPSILON[norm]}
    return build_attack(resolve_attack({"kind": "autoattack", **ball, **settings}))


def run(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Outcome:
    return run_attack(attack, model, Samples(images, labels, torch.arange(len(labels)), 0))
