"""SGD with momentum and weight decay, torch's own update without torch's optimiser object.

The object imports the compiler when it is made, which takes two seconds: longer than a small cell
takes for an epoch. Its state would have to be taken apart for the checkpoint anyway.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class Sgd:
    """Momentum SGD on all parameters of a model; `momentum_buffers` is its whole state."""

    def __init__(self, model: nn.Module, momentum: float, weight_decay: float) -> None:
        self.parameters = dict(model.named_parameters())
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.momentum_buffers: dict[str, Tensor] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update every parameter that has a gradient."""
        updated = {
            name: parameter
            for name, parameter in self.parameters.items()
            if parameter.grad is not None
        }
        buffers = [self.momentum_buffers.get(name) for name in updated]
        sgd(
            list(updated.values()),
            [parameter.grad for parameter in updated.values() if parameter.grad is not None],
            buffers,
            foreach=True,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for name, buffer in zip(updated, buffers, strict=True):
            if buffer is not None:
                self.momentum_buffers[name] = buffer
