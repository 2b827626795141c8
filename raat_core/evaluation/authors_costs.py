"""What attacks of AutoAttack's authors' package cost for each image; read off its code.

`tests/raat_core/cost` compares these with what is counted in runs. A gradient stands for a forward
and a backward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raat_core.cells.attacks.limits import targets_of
from raat_core.interface.operations import Passes

QUERIES_OF_BROKEN = 240
"""Square's, of images that it breaks: the mean of 63 digits (docs/cost.md)."""


@dataclass(frozen=True)
class Effort:
    """How long one of the attacks tries."""

    steps: int = 100
    """Of APGD and FAB."""
    restarts: int = 1
    gradients: int = 1
    """Of random models: those of which a step takes the mean."""
    queries: int = 5000
    """Of Square."""


def passes_in_turn(
    attacks: Mapping[str, Effort], classes: int, clean: float, standing: float, repeats: int
) -> Passes:
    """Of attacks in turn, each on what is left; nearly all that break do so under the first.

    Args:
        attacks: by AutoAttack's names, in their order.
        classes: of the data set.
        clean: the share of images that are classified correctly without attack, in [0, 1].
        standing: the share that withstands all of them.
        repeats: forwards that look for what is unusual, of every image.
    """
    each = [_passes(name, effort, classes) for name, effort in attacks.items()]
    first_breaks, _ = each[0]
    all_stand = sum((stands for _, stands in each), Passes())
    return Passes(forwards=repeats) + (clean - standing) * first_breaks + standing * all_stand


def _passes(name: str, effort: Effort, classes: int) -> tuple[Passes, Passes]:
    """Of one attack, on an image that it breaks in its first start, and on one that stands."""
    around, once, times = Passes(forwards=2), _start(name, effort, classes), effort.restarts
    if name in ("apgd-t", "fab-t"):
        times *= targets_of(classes)
    breaks = once
    if name == "square":
        breaks = Passes(forwards=2 + min(effort.queries, QUERIES_OF_BROKEN))
    return around + breaks, around + times * once


def _start(name: str, effort: Effort, classes: int) -> Passes:
    """Of one start, and towards one class."""
    steps = effort.steps
    if name == "square":
        return Passes(forwards=2 + effort.queries)
    if name == "fab":
        # A step: one forward, a backward for every class, and a look at where it came to.
        return Passes(forwards=2 + steps + steps * (1 - classes), gradients=steps * classes)
    if name == "fab-t":
        return Passes(forwards=3 + steps, gradients=steps)
    to_one_class = 1 if name == "apgd-t" else 0
    return Passes(forwards=to_one_class, gradients=effort.gradients * (steps + 1))
