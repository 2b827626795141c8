"""What a cell's jobs ask of a cluster: GPUs, memory and time, from the cell's spec.

The time is the estimate that `python -m raat_sweep plan` prints, for the slowest GPU that a job may
come to, and more. A limit that is too short costs no result: training saves, goes back into the
queue and goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation
from raat_core.cost.flop import (
    Accuracies,
    batch_growth,
    evaluation_flop,
    look_flop,
    operations_of,
    training_flop,
)
from raat_core.cost.timing import Kind, kind_of, kind_of_training
from raat_core.interface.operations import Passes
from raat_sweep.cost.throughput import Throughput

GPU_FROM_FLOP = 1e14
"""From here on a cell takes a core of a CPU hours, and a GPU pays."""
ATTACKS_A_STEP = 4
"""RAAT's: two views, each attacked in two balls. The cells of a sweep go to the same hardware,
whatever their methods."""
SAFETY = 2.0
"""Times the estimate is what is asked for."""
COPIES_OF_WEIGHTS = 8
SHORTEST_MINUTES, LONGEST_MINUTES = 30, 1440
NOTHING_MEASURED = Throughput()


@dataclass(frozen=True)
class Resources:
    """Under Snakemake's names for them."""

    gpu: int
    mem_mb: int
    runtime: int
    """Minutes: `SHORTEST_MINUTES` doubled until it is enough, so that many jobs ask for the same
    and go out as one array."""


def resources_of_training(
    cell: Cell, throughput: Throughput = NOTHING_MEASURED, weights: int = 0
) -> Resources:
    """For training a cell.

    Args:
        cell: which.
        throughput: what was measured.
        weights: bytes of the file of given weights, which is held several times over.
    """
    gpu = _size_of_training(cell) >= GPU_FROM_FLOP
    asked = _resources(gpu, _training_seconds(cell, throughput, gpu))
    return replace(asked, mem_mb=asked.mem_mb + _memory_of(weights))


def resources_of_attacks(
    cell: Cell,
    attacks: tuple[Evaluation, ...],
    throughput: Throughput = NOTHING_MEASURED,
    shards: int = 1,
) -> Resources:
    """For attacking a trained cell, or one of its shards; on a GPU if it was trained on one.

    A cell of given weights is attacked on one if its attacks are work for one.
    """
    size = _size_of_training(cell) if cell.trains else _size_of_attacks(cell, attacks)
    gpu = size >= GPU_FROM_FLOP
    return _resources(gpu, _attacks_seconds(cell, attacks, throughput, gpu, shards))


def resources_of_both(
    cell: Cell,
    attacks: tuple[Evaluation, ...],
    throughput: Throughput = NOTHING_MEASURED,
    weights: int = 0,
) -> Resources:
    """For training and attacking a cell in one job."""
    gpu = _size_of_training(cell) + _size_of_attacks(cell, attacks) >= GPU_FROM_FLOP
    training = _training_seconds(cell, throughput, gpu)
    asked = _resources(gpu, training + _attacks_seconds(cell, attacks, throughput, gpu))
    return replace(asked, mem_mb=asked.mem_mb + _memory_of(weights))


def _memory_of(weights: int) -> int:
    """In MB: the file, its tensors, the model, arrays and what is written; twice in fp32."""
    return COPIES_OF_WEIGHTS * (weights // 1_000_000)


def _resources(gpu: bool, seconds: float) -> Resources:
    minutes = SHORTEST_MINUTES
    while minutes < min(SAFETY * seconds / 60, LONGEST_MINUTES):
        minutes *= 2
    return Resources(
        gpu=int(gpu), mem_mb=8000 if gpu else 2000, runtime=min(minutes, LONGEST_MINUTES)
    )


def _training_seconds(cell: Cell, throughput: Throughput, gpu: bool) -> float:
    work = [(kind_of_training(cell.precision), training_flop(cell))]
    return _seconds(cell, work, throughput, gpu)


def _attacks_seconds(
    cell: Cell,
    attacks: Iterable[Evaluation],
    throughput: Throughput,
    gpu: bool,
    shards: int = 1,
) -> float:
    """Of the shard that has most: batches are not divided."""
    size = DATA_SETS[cell.dataset].test_size
    work = [
        (kind_of(attack), evaluation_flop(cell, attack) * math.ceil(batches / shards) / batches)
        for attack, batches in ((attack, attack.batches(size)) for attack in attacks)
    ]
    return _seconds(cell, work, throughput, gpu)


def _seconds(
    cell: Cell, work: Iterable[tuple[Kind, float]], throughput: Throughput, gpu: bool
) -> float:
    shape = DATA_SETS[cell.dataset].image_shape
    return sum(
        flop / throughput.slowest(gpu, cell.architecture, shape, kind) for kind, flop in work
    )


def _size_of_training(cell: Cell) -> float:
    """FLOP with the costliest method; 0 where nothing is trained."""
    if not cell.trains:
        return 0.0
    steps, data = cell.threat_model.steps, DATA_SETS[cell.dataset]
    step = Passes(gradients=ATTACKS_A_STEP * steps, updates=ATTACKS_A_STEP)
    images = data.train_size * batch_growth(cell) * step.flop(operations_of(cell))
    return cell.recipe.epochs * (images + look_flop(cell) / cell.selection.every)


def _size_of_attacks(cell: Cell, attacks: Iterable[Evaluation]) -> float:
    """FLOP if no attack had success."""
    return sum(evaluation_flop(cell, attack, Accuracies(1.0, 1.0)) for attack in attacks)
