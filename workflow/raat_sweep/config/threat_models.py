"""Threat models that a config has by name."""

from __future__ import annotations

from pydantic import Field, model_validator

from raat_core.specs.threat_model import Norm, ThreatModel
from raat_core.validation import (
    LARGEST_COUNT,
    Frozen,
    PixelFraction,
)
from raat_sweep.config.data_sets import DataSetName


class BallOverride(Frozen):
    """Another ball for one data set."""

    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")


class ThreatModelEntry(Frozen):
    """A threat model by name, with other balls for data sets that need them."""

    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")
    steps: int = Field(10, ge=1, le=LARGEST_COUNT, description="Steps of the training attack.")
    datasets: dict[DataSetName, BallOverride] = Field(
        default_factory=dict, description="Data sets with a ball of their own."
    )

    @model_validator(mode="after")
    def _check_balls(self) -> ThreatModelEntry:
        for dataset in ("", *self.datasets):
            self.resolve(dataset)
        return self

    def resolve(self, dataset: str) -> ThreatModel:
        """The threat model for a data set."""
        ball = self.datasets.get(dataset, self)
        return ThreatModel(
            norm=self.norm, epsilon=ball.epsilon, step_size=ball.step_size, steps=self.steps
        )
