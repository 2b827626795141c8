"""Averages of the weights beside a training, whatever its objective."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from raat_core.validation import KIND_IN_A_WORD, LARGEST_COUNT, Frozen, of_kind


class _Averaging(Frozen):
    from_epoch: int = Field(
        0, ge=0, description="The first epoch, counted from 0, whose weights are averaged."
    )
    report: Literal["average", "trained"] = Field(
        "average", description="Which model is reported, and the best checkpoint is chosen of."
    )
    evaluate_other: bool = Field(
        False, description="Evaluate the other one after every epoch too, for the history alone."
    )

    @model_validator(mode="after")
    def _check(self) -> _Averaging:
        if self.report == "trained" and not self.evaluate_other:
            raise ValueError(
                "report = 'trained', evaluate_other = false: the average would be for nothing"
            )
        return self


class Ema(_Averaging):
    """An exponential moving average of weights and BatchNorm's statistics, every step."""

    kind: Literal["ema"] = "ema"
    decay: float = Field(0.999, ge=0, lt=1, description="What a step keeps of the average.")


class Swa(_Averaging):
    """The mean of the weights after each epoch (Izmailov et al., UAI 2018).

    BatchNorm's statistics are estimated anew, by a pass over the augmented training images.
    """

    kind: Literal["swa"] = "swa"
    every: int = Field(1, ge=1, le=LARGEST_COUNT, description="Epochs from one to the next.")


Averaging: TypeAlias = Annotated[
    Ema | Swa, Field(discriminator="kind"), of_kind("ema", "swa"), KIND_IN_A_WORD
]
