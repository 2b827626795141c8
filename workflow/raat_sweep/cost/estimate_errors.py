"""How far estimates of a cell's time are from what it took."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from raat_sweep.cost.throughput import Throughput
from raat_sweep.cost.timed_work import Timed


@dataclass(frozen=True)
class EstimateErrors:
    """How far estimates are from what was measured, |estimate / measured - 1|, none empty."""

    kind: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        return (
            f"on {len(self.values)} {self.kind}: median {statistics.median(self.values):.0%}, "
            f"largest {max(self.values):.0%}"
        )


KINDS = {
    "trainings": ("training", "reduced-training"),
    "cells' attacks": ("pgd", "autoattack"),
}
"""What is estimated together: all attacks on a cell are."""


def estimate_errors(throughput: Throughput, hardware: str) -> list[EstimateErrors]:
    """Of every cell that ran on some hardware, estimated from the runs of the others.

    Of trainings, and of all attacks on a cell together; nothing for a cell that nothing but
    data sheets would speak of.
    """
    everything = throughput.timed_on(hardware)
    found: dict[str, list[float]] = defaultdict(list)
    for timed in _by_cell(everything).values():
        if len(timed) == len(everything):
            continue
        for part, error in _errors_of_cell(timed, throughput):
            found[part].append(error)
    return [EstimateErrors(part, tuple(found[part])) for part in KINDS if found[part]]


def _errors_of_cell(timed: Sequence[Timed], throughput: Throughput) -> Iterator[tuple[str, float]]:
    """All that was timed of one cell: for each of `KINDS`, |estimate / measured - 1|."""
    first = timed[0]
    model = first.architecture, first.image_shape
    paces = {
        kind: throughput.pace(first.hardware, *model, kind, without=first.cell)
        for kind in {one.kind for one in timed}
    }
    for part, kinds in KINDS.items():
        own = [one for one in timed if one.kind in kinds]
        if own:
            estimate = sum(one.flop / paces[one.kind].flop_per_second for one in own)
            yield part, abs(estimate / sum(one.seconds for one in own) - 1)


def _by_cell(timed: Iterable[Timed]) -> dict[str, list[Timed]]:
    found = defaultdict(list)
    for one in timed:
        if one.cell:
            found[one.cell].append(one)
    return dict(found)
