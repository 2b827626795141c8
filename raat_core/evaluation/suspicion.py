"""What makes the numbers of a checkpoint suspicious, from its records together; needs no torch.

Robustness that comes of masked gradients shows in attacks that disagree: what follows gradients
finds little, and what does not finds much (Athalye et al., ICML 2018; Carlini et al., 2019,
arXiv:1902.06705; Croce & Hein, ICML 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np

from raat_core.evaluation.records import Record
from raat_core.interface.registry import resolve_attack

LARGEST_GAP = 8.0
"""Points between PGD and a stronger attack; the largest of the paper's Table 1 are 6.6 to
AutoAttack and 4.3 to C&W, both of MART.
"""
STANDARD_ERRORS = 3.0
"""By how many of them that gap has to be exceeded: on few images chance alone exceeds it."""
LARGEST_HELP = 1.0
"""Points that more steps or a larger epsilon may help by: the random starts differ."""
FEWEST_IMAGES = 3
"""That a difference has to be of, so that a few images more or less raise no alarm."""
Settings: TypeAlias = dict[str, Any]
_IDLE = ("samples", "batch_size", "seed", "keep")
"""Settings that make an attack neither stronger nor weaker."""


def suspicions(records: Sequence[Record]) -> list[str]:
    """Sentences on what should be looked at before the numbers are believed; empty if nothing.

    Args:
        records: of one checkpoint of one cell. Two are compared on the images that both have.
    """
    own = [
        f"{_called(record)}: {flag}"
        for record in records
        for flag in record.metadata.get("flags", ())
    ]
    return [*own, *_less_than_others(records), *_helped(records)]


def _less_than_others(records: Sequence[Record]) -> Iterator[str]:
    """PGD on the cross-entropy finds much less than another attack in the same ball.

    C&W and AutoAttack, or Square, transfer and whatever else there is: what needs other gradients,
    or none, must not find more by far.
    """
    for weak in _longest(records):
        for strong in records:
            is_other = not _is_plain_pgd(_settings(strong))
            if not is_other or _ball(_settings(strong)) != _ball(_settings(weak)):
                continue
            gap, images = _difference(weak, strong)
            if images > _most_by_chance(weak, strong):
                yield (
                    f"{_called(weak)} is {gap:.1f} points above {_called(strong)}, more than "
                    f"{LARGEST_GAP:g}: gradients may be masked"
                )


def _longest(records: Sequence[Record]) -> list[Record]:
    """PGD on the cross-entropy with most steps, one in each ball."""
    found: dict[object, Record] = {}
    for record in records:
        settings = _settings(record)
        if not _is_plain_pgd(settings):
            continue
        other = found.get(_ball(settings))
        if other is None or settings["steps"] > _settings(other)["steps"]:
            found[_ball(settings)] = record
    return list(found.values())


def _helped(records: Sequence[Record]) -> Iterator[str]:
    """More steps, or a larger epsilon, of attacks that differ in nothing else."""
    for weak, strong in permutations(records, 2):
        what = _more_of(_settings(weak), _settings(strong))
        if not what:
            continue
        gain, images = _difference(strong, weak)
        if gain > LARGEST_HELP and images >= FEWEST_IMAGES:
            names = [_called(record) for record in (strong, weak)]
            if what != "more steps":
                radii = [_settings(record)["epsilon"] for record in (strong, weak)]
                names = [f"{n} at ε = {e}" for n, e in zip(names, radii, strict=True)]
            yield f"{what} helped the model: {names[0]} is {gain:.1f} points above {names[1]}"


def _more_of(weak: Settings, strong: Settings) -> str:
    """In what an attack goes further than another one that is the same else; empty if it does not.

    The step size may go with epsilon.
    """
    keys = (set(weak) | set(strong)) - set(_IDLE)
    differ = {key for key in keys if weak.get(key) != strong.get(key)}
    if differ == {"steps"} and weak["steps"] < strong["steps"]:
        return "more steps"
    if "epsilon" in differ and differ <= {"epsilon", "step_size"}:
        return "a larger epsilon" if _epsilon(weak) < _epsilon(strong) else ""
    return ""


def _difference(one: Record, other: Record) -> tuple[float, int]:
    """By how many points, and how many images, one is above the other, on the images of both."""
    _, in_one, in_other = np.intersect1d(one.index, other.index, return_indices=True)
    if len(in_one) == 0:
        return 0.0, 0
    images = int(one.correct[in_one].sum()) - int(other.correct[in_other].sum())
    return 100 * images / len(in_one), images


def _settings(record: Record) -> Settings:
    settings: Settings = record.metadata["attack"]
    return settings


def _most_by_chance(one: Record, other: Record) -> float:
    """Of the images of both, how many more may withstand one of them where the gap is the largest.

    Each is one with the probability of the gap, so that their number is binomial.
    """
    size, gap = len(np.intersect1d(one.index, other.index)), LARGEST_GAP / 100
    return size * gap + STANDARD_ERRORS * math.sqrt(size * gap * (1 - gap))


def _is_plain_pgd(settings: Settings) -> bool:
    return (settings["kind"], settings.get("objective")) == ("pgd", "cross-entropy")


def _ball(settings: Settings) -> tuple[object, object]:
    return settings.get("norm"), settings.get("epsilon")


def _epsilon(settings: Settings) -> Fraction:
    return Fraction(settings["epsilon"])


def _called(record: Record) -> str:
    settings = _settings(record)
    try:
        return resolve_attack(settings).label
    except ValueError:  # Its plugin is not loaded, or has other settings now.
        return str(settings["kind"])
