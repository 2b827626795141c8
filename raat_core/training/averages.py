"""The recipe's average of the weights, beside a training whatever its objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from raat_core.interface.average import WeightAverage
from raat_core.models.modes import tracked_norms
from raat_core.specs.averaging import Ema, Swa
from raat_core.specs.recipe import Recipe


class RecipeAverage(ABC):
    """The average, when it moves, and which model is reported."""

    def __init__(self, settings: Ema | Swa, model: nn.Module) -> None:
        self._settings, self._model = settings, model
        self.average = WeightAverage()

    def before_step(self, epoch: int) -> None:
        """Called before anything of a step is computed."""

    def after_step(self, epoch: int) -> None:
        """Called when a step is done."""

    def after_epoch(self, epoch: int) -> None:
        """Called after the last step of an epoch, counted from 0, once."""

    @property
    def asks_images(self) -> bool:
        """Whether `estimate` has something to do before the average is evaluated."""
        return False

    def estimate(self, batches: Iterable[Tensor]) -> None:
        """Estimate BatchNorm's statistics of the average, from batches (B, C, H, W)."""

    def evaluated(self, models: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """The models to evaluate, the reported one first.

        Args:
            models: those of the method, the trained one first.
        """
        averaged = {"averaged": self.average.of(self._model)}
        if self._settings.report == "trained":
            return {**models, **averaged}
        return {**averaged, **(models if self._settings.evaluate_other else {})}

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors to save with the checkpoint."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""


class EmaAverage(RecipeAverage):
    """Moves after every step; it begins as the model is before the first of them."""

    def __init__(self, settings: Ema, model: nn.Module) -> None:
        super().__init__(settings, model)
        self.settings = settings

    def before_step(self, epoch: int) -> None:
        if epoch >= self.settings.from_epoch:
            self.average.begin(self._model)

    def after_step(self, epoch: int) -> None:
        if epoch >= self.settings.from_epoch:
            self.average.update(self._model, self.settings.decay)

    def state(self) -> dict[str, Tensor]:
        return self.average.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.average.load_state(state)


class SwaAverage(RecipeAverage):
    """The mean of the weights after epochs; BatchNorm's statistics are estimated, not averaged."""

    _COUNT = "swa_count"

    def __init__(self, settings: Swa, model: nn.Module) -> None:
        super().__init__(settings, model)
        self.settings = settings
        self._count = 0

    def after_epoch(self, epoch: int) -> None:
        since = epoch - self.settings.from_epoch
        if since < 0 or since % self.settings.every:
            return
        self.average.begin(self._model)
        # As torch.optim.swa_utils: the first one is the model itself.
        self.average.update(self._model, self._count / (self._count + 1))
        self._count += 1

    @property
    def asks_images(self) -> bool:
        return self._count > 0 and bool(tracked_norms(self._model))

    def estimate(self, batches: Iterable[Tensor]) -> None:
        from torch.optim.swa_utils import update_bn

        average = self.average.of(self._model)
        try:
            update_bn(batches, average)
        finally:
            average.eval()

    def state(self) -> dict[str, Tensor]:
        if self._count == 0:
            return {}
        return {**self.average.state(), self._COUNT: torch.tensor(self._count)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        weights = dict(state)
        count = weights.pop(self._COUNT, None)
        self._count = 0 if count is None else int(count)
        self.average.load_state(weights)


def build_average(recipe: Recipe, model: nn.Module) -> RecipeAverage | None:
    """What a recipe says, if it averages."""
    if recipe.averaging is None:
        return None
    if isinstance(recipe.averaging, Ema):
        return EmaAverage(recipe.averaging, model)
    return SwaAverage(recipe.averaging, model)
