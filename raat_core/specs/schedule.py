"""Schedules of the learning rate: functions of epoch and step, with torch.optim's values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from raat_core.validation import KIND_IN_A_WORD, LARGEST_COUNT, Frozen, Ratio, of_kind

Unit: TypeAlias = Literal["epoch", "step"]


@dataclass(frozen=True)
class Moment:
    """A step of a training, and how long the training is."""

    epoch: int
    """From 0."""
    step: int
    """Within the epoch, from 0."""
    epochs: int
    steps_per_epoch: int

    def passed(self, unit: Unit) -> int:
        """How many epochs, or steps, are done."""
        return self.epoch if unit == "epoch" else self.epoch * self.steps_per_epoch + self.step

    def in_unit(self, epochs: int, unit: Unit) -> int:
        """So many epochs, in epochs or in steps."""
        return epochs if unit == "epoch" else epochs * self.steps_per_epoch

    def whole(self, unit: Unit) -> int:
        """The whole training, in epochs or in steps."""
        return self.in_unit(self.epochs, unit)


class _Warming(Frozen):
    """A schedule that may begin with a linear rise (`torch.optim.lr_scheduler.LinearLR`)."""

    per: Unit = Field("epoch", description="Whether the rate changes every epoch or every step.")
    warmup_epochs: int = Field(
        0, ge=0, le=LARGEST_COUNT, description="Epochs in which the rate rises to `learning_rate`."
    )
    warmup_from: Ratio = Field(0.01, description="Where it starts, as a part of `learning_rate`.")

    def _warmup(self, moment: Moment) -> tuple[float, int]:
        """Its factor, and how many epochs or steps it lasts."""
        lasts = moment.in_unit(self.warmup_epochs, self.per)
        passed = moment.passed(self.per)
        if passed >= lasts:
            return 1.0, lasts
        return self.warmup_from + (1 - self.warmup_from) * passed / lasts, lasts


class Steps(_Warming):
    """The recipe's `decay_epochs` and `decay_factor`, after a warm-up if it has one."""

    kind: Literal["steps"] = "steps"

    def factor(self, moment: Moment, decay: float) -> float:
        """Of the learning rate; `decay` is what the recipe's milestones make of it."""
        return self._warmup(moment)[0] * decay


class Cosine(_Warming):
    """Half a cosine from `learning_rate` to a part of it (`CosineAnnealingLR`), after a warm-up."""

    kind: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1, description="The last rate, a part of `learning_rate`.")

    def factor(self, moment: Moment, decay: float) -> float:
        """Of the learning rate."""
        warmup, lasts = self._warmup(moment)
        if warmup < 1:
            return warmup
        share = (moment.passed(self.per) - lasts) / max(1, moment.whole(self.per) - lasts)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2


class OneCycle(Frozen):
    """`torch.optim.lr_scheduler.OneCycleLR`, every step; `learning_rate` is the largest."""

    kind: Literal["one-cycle"] = "one-cycle"
    rise: float = Field(0.3, gt=0, lt=1, description="The part of the training that it rises in.")
    anneal: Literal["cosine", "linear"] = Field("cosine", description="How it rises and falls.")
    initial_divisor: float = Field(
        25.0, ge=1, description="The first rate is learning_rate / initial_divisor."
    )
    final_divisor: float = Field(
        1e4, ge=1, description="The last rate is the first one / final_divisor."
    )
    momentum: tuple[float, float] | None = Field(
        None,
        description="SGD's momentum (AdamW's first beta) falls from the second to the first while "
        "the rate rises, and back; null: it stays. torch's default is [0.85, 0.95].",
    )

    @model_validator(mode="after")
    def _check(self) -> OneCycle:
        if self.momentum is not None and not 0 <= self.momentum[0] <= self.momentum[1] < 1:
            raise ValueError(f"momentum = {list(self.momentum)}: must ascend, from 0 to below 1")
        return self

    def factor(self, moment: Moment, decay: float) -> float:
        """Of the learning rate."""
        first = 1 / self.initial_divisor
        return self._between(moment, first, 1.0, first / self.final_divisor)

    def momentum_at(self, moment: Moment) -> float | None:
        """Of a step; None where the recipe's stays."""
        if self.momentum is None:
            return None
        low, high = self.momentum
        return self._between(moment, high, low, high)

    def _between(self, moment: Moment, start: float, middle: float, end: float) -> float:
        whole, passed = moment.whole("step"), moment.passed("step")
        top, last = self.rise * whole - 1, whole - 1
        if passed <= top:
            return self._anneal(start, middle, passed / top)
        return self._anneal(middle, end, (passed - top) / (last - top) if last > top else 1.0)

    def _anneal(self, start: float, end: float, share: float) -> float:
        if self.anneal == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (1 + math.cos(math.pi * share))


class Triangular(Frozen):
    """Rises linearly to `learning_rate`, and falls linearly (one cycle of `CyclicLR`)."""

    kind: Literal["triangular"] = "triangular"
    per: Unit = Field("step", description="Whether the rate changes every epoch or every step.")
    peak: float = Field(0.5, gt=0, lt=1, description="The part of the training that it rises in.")
    initial: float = Field(0.0, ge=0, le=1, description="The first rate, of `learning_rate`.")
    final: float = Field(0.0, ge=0, le=1, description="What it falls to, of `learning_rate`.")

    def factor(self, moment: Moment, decay: float) -> float:
        """Of the learning rate."""
        share = moment.passed(self.per) / moment.whole(self.per)
        if share <= self.peak:
            return self.initial + (1 - self.initial) * share / self.peak
        return self.final + (1 - self.final) * (1 - share) / (1 - self.peak)


Schedule: TypeAlias = Annotated[
    Steps | Cosine | OneCycle | Triangular,
    Field(discriminator="kind"),
    of_kind("steps", "cosine", "one-cycle", "triangular"),
    KIND_IN_A_WORD,
]
