"""When a sweep will be done, from what its cells took so far."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raat_core.cells.cell import Cell
from raat_sweep.monitor.cell_work import CellWork
from raat_sweep.monitor.status import Status, training_left


@dataclass(frozen=True)
class Forecast:
    """When everything is done that has not failed."""

    seconds: float
    at_a_time: int
    """Cells that are worked on now, and taken to be from now on."""


def forecast(works: Sequence[CellWork], statuses: Sequence[Status], now: float) -> Forecast | None:
    """None where nothing runs, or where something is left like which nothing has been measured.

    Args:
        works: what is done of every cell.
        statuses: of the same cells.
        now: in seconds since 1970.
    """
    paces = _means((_kind(work.cell), work.pace) for work in works)
    attacks = _means(
        (_attack_kind(work.cell, attacks), seconds)
        for work in works
        for attacks, seconds in work.attacks.items()
    )
    running: list[float] = []
    queue: list[float] = []
    for work, status in zip(works, statuses, strict=True):
        if status.state in ("failed", "lost", "done"):
            continue
        left = _seconds_left(work, training_left(work, status, now), paces, attacks)
        if left is None:
            return None
        (running if status.state in ("running", "saving") else queue).append(left)
    return Forecast(_last_end(running, queue), len(running)) if running else None


def _last_end(running: Sequence[float], queue: Sequence[float]) -> float:
    """When the last ends if whatever ends makes room for the next in the queue."""
    ends = list(running)
    heapq.heapify(ends)
    for seconds in queue:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _seconds_left(
    work: CellWork,
    training: float | None,
    paces: Mapping[object, float],
    attacks: Mapping[object, float],
) -> float | None:
    """Of training and attacks; None if it cannot be told from this cell and those like it.

    `training` is what is left of one that runs.
    """
    if training is None:
        pace = work.pace or paces.get(_kind(work.cell))
        if pace is None and work.epochs_left:
            return None
        training = work.epochs_left * (pace or 0.0)
    missing = [name for name, seconds in work.attacks.items() if seconds is None]
    costs = [attacks.get(_attack_kind(work.cell, name)) for name in missing]
    known = [
        cost / work.jobs_of(name)
        for name, cost in zip(missing, costs, strict=True)
        if cost is not None
    ]
    return training + sum(known) if len(known) == len(missing) else None


def _kind(cell: Cell) -> object:
    """Cells of one kind take about as long for an epoch."""
    method, steps = cell.method, cell.threat_model.steps
    precision = cell.precision.in_names
    return cell.dataset, cell.architecture, method.name, steps, cell.recipe.batch_size, precision


def _attack_kind(cell: Cell, attacks: str) -> object:
    return cell.dataset, cell.architecture, attacks


def _means(values: Iterable[tuple[object, float | None]]) -> dict[object, float]:
    found = defaultdict(list)
    for kind, value in values:
        if value is not None:
            found[kind].append(value)
    return {kind: sum(some) / len(some) for kind, some in found.items()}
