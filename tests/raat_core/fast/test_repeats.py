"""BatchNorm's statistics moved again without a forward, against a forward."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import small_cell
from raat_core.data.dataset import DataSet
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.repeats import watch_statistics
from raat_core.fast.switches import FastPaths
from raat_core.models.build import build_model
from raat_core.training.step import TrainingStep


def images(seed: int) -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ["resnet-mini", "preact-resnet-18"])
@pytest.mark.parametrize("momentum", [0.1, 0.01, 1.0, 0.0])
def test_a_repetition_is_a_forward_but_for_rounding(architecture: str, momentum: float) -> None:
    """Logits and gradients too, with another forward between the two."""
    model = build_model(architecture, 3, 5, 0).double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    model(images(9).double())
    other = copy.deepcopy(model)

    def gradients(model: nn.Module, first: Tensor, between: Tensor, second: Tensor) -> list[Tensor]:
        loss = functional.cross_entropy(first, torch.arange(6) % 5) + (between * second).sum()
        torch.autograd.backward(loss)
        return [p.grad for p in model.parameters() if p.grad is not None]

    first, between = images(0).double(), (2 * images(1)).double()
    logits, movement = watch_statistics(model, lambda: model(first))
    assert movement is not None
    between_logits = model(between)
    movement.repeat()
    found = gradients(model, logits, between_logits, logits)
    expected = gradients(other, other(first), other(between), other(first))
    for mine, its in zip(found, expected, strict=True):
        assert torch.allclose(mine, its, rtol=1e-8, atol=1e-11)
    for (name, mine), its in zip(model.named_buffers(), other.buffers(), strict=True):
        assert torch.allclose(mine, its, rtol=1e-10, atol=1e-12), name


class Normed(nn.Module):
    """A norm that sees one batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.norm(self.layer(images)).mean((2, 3))
        return logits


class Dropped(Normed):
    """Draws random numbers."""

    def forward(self, images: Tensor) -> Tensor:
        return functional.dropout(super().forward(images), 0.5, self.training)


class Counting(Normed):
    """Keeps something of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.get_buffer("seen").add_(1)
        return super().forward(images)


class Cumulative(Normed):
    """Its statistics are means over all batches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm.momentum = None


class Twice(Normed):
    """A norm that two sets of features go through."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.norm(self.norm(self.layer(images))).mean((2, 3))
        return logits


class Spare(Normed):
    """A norm that this forward leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(4)


class Ghost(nn.BatchNorm2d):
    """Does what nobody knows."""


class Special(Normed):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Ghost(4)


class Unnormalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images).mean((2, 3))
        return logits


@pytest.mark.parametrize(
    "make", [Dropped, Counting, Cumulative, Twice, Spare, Special, Unnormalised]
)
def test_what_cannot_be_repeated_is_computed_again(
    make: Callable[[], nn.Module], small_data: DataSet
) -> None:
    model = make().train()
    step = TrainingStep.draw(
        small_cell(), model, FrozenModels(FastPaths()), small_data.train, torch.arange(4), 1, 0, 0
    )
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    logits, again = step.forward_repeatably(images(0))
    assert again() is not logits
    assert len(calls) == 2


def test_a_repetition_computes_nothing(small_data: DataSet) -> None:
    model = build_model("resnet-mini", 3, 10, 0).train()
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for repeats, expected in ((True, 1), (False, 2)):
        calls.clear()
        frozen = FrozenModels(FastPaths(repeats=repeats))
        step = TrainingStep.draw(
            small_cell(), model, frozen, small_data.train, torch.arange(4), 1, 0, 0
        )
        _, again = step.forward_repeatably(images(0))
        again()
        assert len(calls) == expected
