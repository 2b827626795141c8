"""Our SGD is torch's."""

from __future__ import annotations

import torch
from torch.optim import SGD

from raat_core.models.build import build_model
from raat_core.training.optimisers import Sgd


def test_equal_to_torch_sgd_bit_for_bit() -> None:
    ours, theirs = (build_model("resnet-mini", 1, 10, seed=0) for _ in range(2))
    sgd = Sgd(ours, momentum=0.9, weight_decay=5e-4)
    reference = SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in range(5):
        learning_rate = 0.1 / (step + 1)
        sgd.zero_grad()
        ours(images).square().mean().backward()
        sgd.step(learning_rate)
        for group in reference.param_groups:
            group["lr"] = learning_rate
        reference.zero_grad()
        theirs(images).square().mean().backward()
        reference.step()
        for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(left, right)
    assert sgd.momentum_buffers.keys() == dict(ours.named_parameters()).keys()
