"""Our SGD and AdamW are torch's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD

from raat_core.models.build import build_model
from raat_core.training.optimisers import AdamW, Optimiser, Sgd

Ours = Callable[[nn.Module], Optimiser]
Theirs = Callable[[nn.Module], torch.optim.Optimizer]
PAIRS: dict[str, tuple[Ours, Theirs]] = {
    "sgd": (
        lambda model: Sgd(model, 0.9, 5e-4),
        lambda model: SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4),
    ),
    "nesterov": (
        lambda model: Sgd(model, 0.9, 5e-4, nesterov=True),
        lambda model: SGD(
            model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
        ),
    ),
    "adamw": (
        lambda model: AdamW(model, (0.9, 0.95), 1e-7, 0.05),
        lambda model: torch.optim.AdamW(
            model.parameters(), betas=(0.9, 0.95), eps=1e-7, weight_decay=0.05, foreach=True
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", PAIRS)
def test_equal_to_torch_bit_for_bit(name: str, clip: float | None) -> None:
    """Over three epochs of four steps, their rates changing; half of them after a resume."""
    make_ours, make_theirs = PAIRS[name]
    ours, theirs = (build_model("resnet-mini", 1, 10, seed=0) for _ in range(2))
    optimizer, reference = make_ours(ours), make_theirs(theirs)
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in range(12):
        learning_rate = 0.1 / (step + 1)
        optimizer.zero_grad()
        ours(images).square().mean().backward()
        if clip is not None:
            optimizer.clip(clip)
        optimizer.step(learning_rate)
        for group in reference.param_groups:
            group["lr"] = learning_rate
        reference.zero_grad()
        theirs(images).square().mean().backward()
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
            assert norm > clip or step > 3
        reference.step()
        for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(left, right)
        if step == 5:
            state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
            optimizer = make_ours(ours)
            optimizer.load_state(state)


def test_a_momentum_of_the_step() -> None:
    """As one-cycle schedules change it."""
    ours, theirs = (nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizer, reference = Sgd(ours, 0.9, 0.0), SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for momentum in (0.95, 0.85, 0.9):
        for model in (ours, theirs):
            model.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step(0.1, momentum)
        reference.param_groups[0]["momentum"] = momentum
        reference.step()
        assert torch.equal(ours.weight, theirs.weight)
