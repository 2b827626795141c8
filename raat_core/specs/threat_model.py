"""The threat model: the ball that a model is trained and attacked in, and the steps taken in it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from raat_core.validation import LARGEST_COUNT, Frozen, PixelFraction, format_fraction

Norm: TypeAlias = Literal["linf", "l2"]
NORM_SYMBOLS: dict[str, str] = {"linf": "ℓ∞", "l2": "ℓ₂"}
_LARGEST_TRAINED = {"linf": Fraction(1), "l2": Fraction(5)}
"""Below this: at ε = 1 no image says what it is of."""
_LARGEST_ATTACKED = {"linf": Fraction(1), "l2": Fraction(1000)}
"""Up to this: a whole range of pixels, and more than 3 × 512 × 512 pixels have room for (887). A
model that withstands it is not attacked as it should be."""
_SMALLEST = Fraction(1, 10**6)
"""Of an epsilon or a step: far below it, adding it to a pixel changes nothing in float32."""


def check_epsilon(norm: Norm, epsilon: Fraction, *, trained: bool = False) -> None:
    """Refuse a radius that is not above 0, or beyond what images in [0, 1] have room for.

    Args:
        norm: of the ball.
        epsilon: its radius.
        trained: whether a model is trained in it. An attack on a trained one may have a ball of
            all images, in which no model withstands it: a check of the attack.

    Raises:
        ValueError: says what is allowed.
    """
    largest = (_LARGEST_TRAINED if trained else _LARGEST_ATTACKED)[norm]
    if epsilon < _SMALLEST or epsilon > largest or (trained and epsilon == largest):
        meant = f"; did you mean {epsilon}/255?" if 1 <= epsilon < 256 else ""
        limit = f"below {largest}" if trained else f"at most {largest}"
        raise ValueError(
            f"epsilon = {_short(epsilon)}: must be above 0 (at least 1e-6) and {limit} for "
            f"{norm}, pixels are in [0, 1]{meant}"
        )


def check_step_size(step_size: Fraction, epsilon: Fraction) -> None:
    """Refuse a step that is not above 0, or longer than the ball is wide.

    Raises:
        ValueError: says what is allowed.
    """
    if not _SMALLEST <= step_size <= 2 * epsilon:
        raise ValueError(
            f"step_size = {_short(step_size)}: must be above 0 (at least 1e-6) and at most "
            f"2 epsilon = {format_fraction(2 * epsilon)}"
        )


def out_of_reach(steps: int, step_size: Fraction, epsilon: Fraction) -> str | None:
    """Why an attack's steps cannot take an image to the surface of its ball; None if they can.

    From the centre: an attack that starts at random may be as far as 2 epsilon from it.
    """
    if steps * step_size >= epsilon:
        return None
    usual = f"{Fraction(5, 2 * steps)} of epsilon (2.5 / steps, as is usual)"
    return (
        f"{steps} step{'s' if steps > 1 else ''} of {format_fraction(step_size)} cannot reach the "
        f"surface of the ball, epsilon = {format_fraction(epsilon)}, from its centre: "
        f"{math.ceil(epsilon / step_size)} steps can, or a step_size of "
        f"{usual if steps > 1 else '1 of epsilon'}"
    )


def _short(value: Fraction) -> str:
    """As `format_fraction`, of numbers that a message can hold."""
    return format_fraction(value) if 1e-9 < abs(value) < 1e9 else f"{float(value):g}"


class ThreatModel(Frozen):
    """The ball that a model is trained and attacked in, and the steps taken in it."""

    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")
    steps: int = Field(10, ge=1, le=LARGEST_COUNT, description="Steps of the training attack.")

    @model_validator(mode="after")
    def _check(self) -> ThreatModel:
        check_epsilon(self.norm, self.epsilon, trained=True)
        check_step_size(self.step_size, self.epsilon)
        return self

    def step_in(self, epsilon: Fraction) -> Fraction:
        """The step size in a ball of another radius: the same part of it."""
        return self.step_size * epsilon / self.epsilon
