"""Perturbed weights within a step: the loss's gradient is taken at w + v, and v subtracted again.

The loss is computed twice, at w and at w + v. What it asks without gradients (attacks, decisions
about samples) is computed at w alone, and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from raat_core.interface.step import Iterate, OnIterate
from raat_core.specs.perturbation import Awp
from raat_core.specs.recipe import Recipe

_SMALL = 1e-20
"""In the released code, against a gradient of zero."""


class Remembered:
    """Results of a step's attacks and decisions, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._results: list[tuple[Tensor, list[Iterate]]] = []
        self._again: Iterator[tuple[Tensor, list[Iterate]]] | None = None

    def once(
        self, compute: Callable[[OnIterate | None], Tensor], on_iterate: OnIterate | None = None
    ) -> Tensor:
        """What `compute(on_iterate)` returns; the second time through, what it has returned.

        What `on_iterate` was shown it is shown again: an objective may count iterates.
        """
        if self._again is None:
            shown: list[Iterate] = []
            noting = None if on_iterate is None else partial(_note_and_show, shown, on_iterate)
            self._results.append((compute(noting), shown))
            return self._results[-1][0]
        known = next(self._again, None)
        if known is None:
            return compute(on_iterate)
        if on_iterate is not None:
            for iterate in known[1]:
                on_iterate(iterate)
        return known[0]

    def begin_again(self) -> None:
        """From here on, repeat."""
        self._again = iter(self._results)


def _note_and_show(shown: list[Iterate], on_iterate: OnIterate, iterate: Iterate) -> Tensor | None:
    shown.append(iterate)
    return on_iterate(iterate)


class WeightPerturbation:
    """v = gamma ||w|| g / ||g|| for every weight of more than one dimension."""

    def __init__(self, settings: Awp, model: nn.Module) -> None:
        self.settings = settings
        self.weights = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.dim() > 1 and "weight" in name
        }
        """Of convolutions and linear layers; those of norms have one dimension."""
        self._offsets: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def add(self) -> None:
        """Move the weights along their gradients."""
        self._offsets = []
        for weight in self.weights.values():
            if weight.grad is not None:
                scale = self.settings.gamma * weight.norm() / (weight.grad.norm() + _SMALL)
                self._offsets.append((weight, scale * weight.grad))
        self._move(1)

    @torch.no_grad()
    def subtract(self) -> None:
        """Take back what `add` did."""
        self._move(-1)
        self._offsets = []

    def _move(self, sign: int) -> None:
        if self._offsets:
            weights, offsets = zip(*self._offsets, strict=True)
            torch._foreach_add_(list(weights), list(offsets), alpha=sign)


def build_perturbation(recipe: Recipe, model: nn.Module) -> WeightPerturbation | None:
    """What a recipe says, if it perturbs weights."""
    if recipe.perturbation is None:
        return None
    return WeightPerturbation(recipe.perturbation, model)
