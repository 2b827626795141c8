"""What a method is told of the cell that it trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raat_core.interface.operations import ImageShape
from raat_core.specs.recipe import Recipe
from raat_core.specs.schedule import Moment
from raat_core.specs.threat_model import ThreatModel


@dataclass(frozen=True)
class CellFacts:
    """The cell, but for its method: what settings may be checked against and objectives need."""

    threat_model: ThreatModel
    """Norm, epsilon, step size and steps of the training attack."""
    recipe: Recipe
    """Epochs, batch size, optimiser and what else composes with any objective."""
    dataset: str
    architecture: str
    image_shape: ImageShape
    """Channels, height, width."""
    classes: int
    train_size: int
    """Training images: `Step.indices` are below it. While settings are checked, where a part is
    held out, it is an estimate."""
    seed: int
    extra_size: int = 0
    """Images of the extra data, whose `Step.indices` follow those of the training images."""
    extra_per_batch: int = 0
    """Samples of the extra data in a batch of `recipe.batch_size`."""

    @property
    def samples(self) -> int:
        """Training images and extra ones: `Step.indices` are below it."""
        return self.train_size + self.extra_size

    @property
    def steps_per_epoch(self) -> int:
        """Updates in each epoch."""
        batches = self.train_size / (self.recipe.batch_size - self.extra_per_batch)
        return math.floor(batches) if self.recipe.drop_last else math.ceil(batches)

    @property
    def steps(self) -> int:
        """Updates in the whole training."""
        return self.recipe.epochs * self.steps_per_epoch

    def moment(self, epoch: int, step: int) -> Moment:
        """A step (both from 0), for schedules."""
        return Moment(epoch, step, self.recipe.epochs, self.steps_per_epoch)
