"""Base of methods whose result is an exponential moving average of the weights: WA, ReBAT, RAAT#.

The framework of ReBAT (Wang et al., NeurIPS 2023), in which RAAT# stands too (Section 5.3). Until
averaging starts the average is the trained model itself, and nothing is copied.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import (
    CellFacts,
    LogitsMode,
    Method,
    MethodSettings,
    Start,
    Step,
    departure,
)
from raat_core.interface.average import WeightAverage
from raat_core.interface.l2 import (
    L2Gradient,
    L2Projection,
    L2Settings,
    L2Start,
    l2_gradient,
    l2_projection,
    l2_start,
)
from raat_core.interface.losses import kl_divergence
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor, nn


class AveragingSettings(L2Settings):
    """Settings of the average, shared by WA, ReBAT and RAAT#."""

    decay: float = Field(
        0.999, ge=0, lt=1, description="What every step keeps of the averaged weights."
    )
    average_from: int = Field(
        105, ge=0, description="The first epoch, counted from 0, whose steps are averaged."
    )
    evaluate_online: bool = departure(
        False,
        True,
        "Evaluate the trained model after every epoch too, for the history alone; instead of the "
        "averaged one only.",
    )
    repeat_forwards: bool = departure(
        False,
        True,
        "Forward in training mode what the released code does to watch the training, which "
        "BatchNorm's statistics see: x' after an attack whose mode is train, x after the "
        "optimiser's step, and in RAAT# x' once more before it.",
    )
    l2_start: L2Start | None = l2_start("uniform-radius")
    l2_gradient: L2Gradient | None = l2_gradient("rebat")
    l2_projection: L2Projection | None = l2_projection("before-clipping")

    def check(self, cell: CellFacts) -> None:
        """See `MethodSettings.check`."""
        if self.average_from >= cell.recipe.epochs:
            raise ValueError(
                f"method.average_from = {self.average_from}: must be below "
                f"recipe.epochs = {cell.recipe.epochs}, or the weights are never averaged"
            )
        if cell.recipe.averaging is not None:
            raise ValueError(
                f"recipe.averaging = {{kind: {cell.recipe.averaging.kind}}}: {self.name} averages "
                f"the weights itself (average_from, decay)"
            )


class Averaging(Method):
    """Averages all parameters and BatchNorm's statistics after every step, and reports that.

    average = decay * average + (1 - decay) * model. It starts from the model as it is before the
    first step of epoch `average_from`.
    """

    settings: AveragingSettings

    def __init__(self, settings: MethodSettings, cell: CellFacts) -> None:
        super().__init__(settings, cell)
        self._average = WeightAverage()

    @abstractmethod
    def objective(self, step: Step) -> dict[str, Tensor]:
        """As `Method.loss`, once the average is there for the step."""

    def averages(self, step: Step) -> bool:
        """Whether the step's epoch is averaged: before, the average is the model."""
        return step.epoch >= self.settings.average_from

    def loss(self, step: Step) -> dict[str, Tensor]:
        if self.averages(step):
            # Before the step's attack or forwards move BatchNorm's statistics.
            self._average.begin(step.model)
        return self.objective(step)

    def after_step(self, step: Step) -> None:
        if self.settings.repeat_forwards:
            step.logits(self.watched(step), "train")
        if self.averages(step):
            self._average.update(step.model, self.settings.decay)

    def watched(self, step: Step) -> Tensor:
        """The images that `repeat_forwards` forwards after the optimiser's step."""
        return step.stacked_views()[0]

    def average_of(self, model: nn.Module) -> nn.Module:
        """The averaged model; `model` itself before averaging starts."""
        return self._average.of(model)

    def attacked(
        self,
        step: Step,
        images: Tensor,
        labels: Tensor,
        *,
        start: Start = "uniform",
        radius: float = 1.0,
        name: str = "attack",
    ) -> Tensor:
        """`Step.attack`, and the forward that follows it in the released code."""
        adversarial = step.attack(
            images, labels, start=start, radius=radius, l2=self.settings.l2, name=name
        )
        if self.settings.repeat_forwards and step.attack_batchnorm == "train":
            step.logits(adversarial, "train")
        return adversarial

    def passes_of_repeating(self, attacked: int, watched: int) -> Passes:
        """What `repeat_forwards` costs for each sample, where the attack's mode is train.

        Args:
            attacked: views that an attack ends with.
            watched: views that are forwarded after the optimiser's step.
        """
        return Passes(forwards=attacked + watched if self.settings.repeat_forwards else 0)

    def evaluated(self, model: nn.Module) -> dict[str, nn.Module]:
        models = {"averaged": self.average_of(model)}
        if self.settings.evaluate_online:
            models["online"] = model
        return models

    def state(self) -> dict[str, Tensor]:
        return self._average.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._average.load_state(state)


class ConsultedAverageSettings(AveragingSettings):
    """Settings of methods whose objective asks the averaged model."""

    average_mode: Literal["eval", "train-until-evaluated"] = departure(
        "eval",
        "train-until-evaluated",
        "BatchNorm's mode in the averaged model's forwards while training: eval, or train up to "
        "the end of epoch average_from, after which the released code evaluates it for the first "
        "time, and eval from then on.",
    )


class ConsultedAverage(Averaging):
    """An average that the objective asks."""

    settings: ConsultedAverageSettings

    def average_logits(self, step: Step, images: Tensor) -> Tensor:
        """Logits (N, K) of the averaged model, without gradients.

        In train mode they are by the batch's statistics, and the average's own running statistics
        see `images`; before averaging starts these are the model's, which must not.
        """
        settings = self.settings
        mode: LogitsMode = "eval"
        if settings.average_mode != "eval" and step.epoch <= settings.average_from:
            mode = "train" if self.averages(step) else "batch"
        return step.logits(images, mode, self.average_of(step.model))

    def divergence(self, step: Step, adversarial: Tensor, logits: Tensor) -> Tensor:
        """ReBAT's mean KL(p_average(x') || p(x')), a scalar; zero before averaging starts.

        Args:
            step: the step.
            adversarial: x', (N, C, H, W).
            logits: the trained model's at x', (N, K); gradients flow into them alone.
        """
        if not self.averages(step):
            return logits.new_zeros(())
        return kl_divergence(self.average_logits(step, adversarial), logits).mean()
