"""An average of a model's weights, as a model of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class WeightAverage:
    """average = decay * average + (1 - decay) * model, of parameters and BatchNorm's statistics.

    It begins as the model is at `begin`; until then the average is the model itself, and nothing is
    copied. For methods that ask an average (a teacher, say); to report one, a recipe's `averaging`
    needs no code.
    """

    def __init__(self) -> None:
        self._average: nn.Module | None = None
        self._weights: dict[str, Tensor] = {}
        """The averaged model's own tensors, or those of a resumed state that it is to get."""

    @property
    def has_begun(self) -> bool:
        """Whether there is an average yet."""
        return bool(self._weights)

    def begin(self, model: nn.Module) -> None:
        """Take a copy of the model as it is; does nothing if it was begun before."""
        if not self.has_begun:
            self._weights = dict(model.state_dict())
            self.of(model)

    def of(self, model: nn.Module) -> nn.Module:
        """The averaged model, frozen and in evaluation mode; `model` itself before it begins."""
        if not self.has_begun:
            return model
        if self._average is None:
            average = copy.deepcopy(model).requires_grad_(False).eval()
            average.zero_grad()
            average.load_state_dict(self._weights)
            self._average, self._weights = average, average.state_dict()
        return self._average

    def update(self, model: nn.Module, decay: float) -> None:
        """Move towards the model by 1 - decay; counters are the model's."""
        import torch

        online = model.state_dict()
        averaged = [name for name, tensor in self._weights.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self._weights[name] for name in averaged],
            [online[name] for name in averaged],
            1 - decay,
        )
        for name in self._weights.keys() - set(averaged):  # BatchNorm's counters.
            self._weights[name].copy_(online[name])

    def state(self) -> dict[str, Tensor]:
        """The averaged model's tensors; none before it begins."""
        return self._weights

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        self._average, self._weights = None, dict(state)
