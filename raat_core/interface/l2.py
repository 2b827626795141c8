"""What attacks in l2 balls leave open, and where the released code chose otherwise than the paper.

The paper speaks of PGD. In an l-infinity ball that says all but the start; in an l2 ball it leaves
open how a gradient is normalised, and whether a step is clipped to [0, 1] before it is projected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from raat_core.interface.settings import MethodSettings, departure

L2Start: TypeAlias = Literal["uniform", "pixel-box", "uniform-radius"]
"""uniform in the ball; uniform in [0, 1] and shrunk to the ball, as in advertorch; or in a uniform
direction at a distance that is uniform in [0, epsilon], as in ReBAT's code."""
L2Gradient: TypeAlias = Literal["normalised", "advertorch", "mart", "trades", "rebat"]
"""What a sample's gradient g is divided by. normalised: its norm ||g||. Of the mean loss over the N
images that are attacked together: advertorch: max(||g||, 1e-6), mart: ||g|| + 1e-8, rebat:
||g|| + 1e-10. Of their sum: trades: ||g|| + 1e-8."""
L2Projection: TypeAlias = Literal["after-clipping", "before-clipping"]
"""Whether a step is projected onto the ball after it is clipped to [0, 1], or before."""


@dataclass(frozen=True)
class L2Details:
    """How an attack starts and steps in an l2 ball; in an l-infinity ball none of it counts."""

    start: L2Start | None = None
    """In place of `start`; None: as that says."""
    gradient: L2Gradient = "normalised"
    projection: L2Projection = "after-clipping"


PLAIN_L2 = L2Details()


class L2Settings(MethodSettings):
    """Settings of methods whose attack departs from the paper's in l2 balls.

    A subclass has one or more of the fields `l2_start`, `l2_gradient` and `l2_projection`.
    """

    @property
    def l2(self) -> L2Details:
        """For `Step.attack`."""
        given: dict[str, Any] = {
            name: getattr(self, f"l2_{name}", None) for name in ("start", "gradient", "projection")
        }
        return L2Details(**{name: value for name, value in given.items() if value is not None})


def l2_start(released: L2Start) -> Any:
    """The field `l2_start: L2Start | None`."""
    return departure(
        "uniform",
        released,
        "In l2 balls alone: start uniform in the ball; pixel-box: uniform in [0, 1], shrunk to the "
        "ball; uniform-radius: distance uniform in [0, epsilon].",
        norm="l2",
    )


def l2_gradient(released: L2Gradient) -> Any:
    """The field `l2_gradient: L2Gradient | None`."""
    return departure(
        "normalised",
        released,
        "In l2 balls alone: what a step divides the gradient g by. normalised: ||g||; with g of "
        "the batch's mean loss advertorch: max(||g||, 1e-6), mart: ||g|| + 1e-8, rebat: "
        "||g|| + 1e-10; of its sum trades: ||g|| + 1e-8.",
        norm="l2",
    )


def l2_projection(released: L2Projection) -> Any:
    """The field `l2_projection: L2Projection | None`."""
    return departure(
        "after-clipping",
        released,
        "In l2 balls alone: project onto the ball after clipping to [0, 1], or before.",
        norm="l2",
    )
