"""Perturbations of the weights within a step, whatever its objective."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from raat_core.validation import KIND_IN_A_WORD, Frozen, of_kind


class Awp(Frozen):
    """Adversarial weight perturbation (Wu et al., NeurIPS 2020), as in the released code.

    Every convolution's and linear layer's weight w gets v = gamma ||w|| g / ||g||, g the loss's
    gradient at w; the step is taken at w + v, and v subtracted. Attacks and decisions of the step
    are of w.
    """

    kind: Literal["awp"] = "awp"
    gamma: float = Field(0.01, ge=0, lt=1, description="Size of the perturbation, of ||w||.")
    from_epoch: int = Field(0, ge=0, description="The first epoch, counted from 0, that has it.")


Perturbation: TypeAlias = Annotated[Awp, of_kind("awp"), KIND_IN_A_WORD]
