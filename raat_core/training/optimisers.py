"""SGD and AdamW: torch's own updates without torch's optimiser objects.

The objects import the compiler when they are made, which takes two seconds: longer than a small
cell takes for an epoch. Their state would have to be taken apart for the checkpoint anyway.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from raat_core.specs import optimiser
from raat_core.specs.recipe import Recipe

Tensors = dict[str, Tensor]


class Optimiser(ABC):
    """Updates all parameters of a model; `state` is all that it remembers."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = dict(model.named_parameters())

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def clip(self, largest: float) -> None:
        """Scale all gradients together so that their norm is at most `largest`."""
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), largest)

    @abstractmethod
    def step(self, learning_rate: float, momentum: float | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            learning_rate: of this step.
            momentum: of this step, AdamW's first beta; without, as the optimiser was made.
        """

    @abstractmethod
    def state(self) -> Tensors:
        """Its tensors by name, `<what>.<parameter>`."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""

    def _updated(self) -> tuple[Tensors, list[Tensor]]:
        """The parameters that have a gradient, and their gradients."""
        updated: Tensors = {n: each for n, each in self.parameters.items() if each.grad is not None}
        return updated, [each.grad for each in updated.values() if each.grad is not None]


class Sgd(Optimiser):
    """Momentum SGD; `momentum_buffers` is its whole state."""

    def __init__(
        self, model: nn.Module, momentum: float, weight_decay: float, *, nesterov: bool = False
    ) -> None:
        super().__init__(model)
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.momentum_buffers: Tensors = {}

    @torch.no_grad()
    def step(self, learning_rate: float, momentum: float | None = None) -> None:
        """See `Optimiser.step`."""
        updated, gradients = self._updated()
        buffers = [self.momentum_buffers.get(name) for name in updated]
        sgd(
            list(updated.values()),
            gradients,
            buffers,
            foreach=True,
            weight_decay=self.weight_decay,
            momentum=self.momentum if momentum is None else momentum,
            lr=learning_rate,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
        )
        for name, buffer in zip(updated, buffers, strict=True):
            if buffer is not None:
                self.momentum_buffers[name] = buffer

    def state(self) -> Tensors:
        """See `Optimiser.state`."""
        return {f"momentum.{name}": buffer for name, buffer in self.momentum_buffers.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load_state`."""
        self.momentum_buffers = {n.removeprefix("momentum."): t for n, t in state.items()}


class AdamW(Optimiser):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)."""

    _KEPT = ("mean", "square", "steps")

    def __init__(
        self, model: nn.Module, betas: tuple[float, float], eps: float, weight_decay: float
    ) -> None:
        super().__init__(model)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self._state: Tensors = {}

    @torch.no_grad()
    def step(self, learning_rate: float, momentum: float | None = None) -> None:
        """See `Optimiser.step`."""
        updated, gradients = self._updated()
        for name, parameter in updated.items():
            if f"steps.{name}" not in self._state:
                self._state[f"mean.{name}"] = torch.zeros_like(parameter)
                self._state[f"square.{name}"] = torch.zeros_like(parameter)
                self._state[f"steps.{name}"] = torch.zeros(())
        means, squares, steps = (
            [self._state[f"{what}.{name}"] for name in updated] for what in self._KEPT
        )
        adam(
            list(updated.values()),
            gradients,
            means,
            squares,
            [],
            steps,
            foreach=True,
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=self.betas[0] if momentum is None else momentum,
            beta2=self.betas[1],
            lr=learning_rate,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )

    def state(self) -> Tensors:
        """See `Optimiser.state`."""
        return self._state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load_state`."""
        # Counters stay on the CPU, as torch's own, where no step waits for them.
        self._state = {n: t.cpu() if n.startswith("steps.") else t for n, t in state.items()}


def build_optimiser(model: nn.Module, recipe: Recipe) -> Optimiser:
    """What a recipe says, for all parameters of a model."""
    chosen = recipe.optimiser
    if isinstance(chosen, optimiser.AdamW):
        return AdamW(model, chosen.betas, chosen.eps, recipe.weight_decay)
    return Sgd(model, recipe.momentum, recipe.weight_decay, nesterov=chosen.nesterov)
