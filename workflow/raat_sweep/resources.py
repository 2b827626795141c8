"""What a cell's jobs ask of a cluster: GPUs, memory and time, from the cell's spec.

The time is a bound for all methods, not an estimate of one. A limit that is too short costs no
result: training saves, goes back into the queue and goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from raat_core.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.spec import AutoAttackEvaluation, Cell, Evaluation, PgdEvaluation

GPU_FROM_FLOP = 1e14
"""From here on a cell takes a core of a CPU hours, and a GPU pays."""
CPU_FLOP_PER_SECOND = 5e9
"""Of one core, on images so small that the time goes into calls."""
GPU_FLOP_PER_SECOND = 2e12
"""Of a GPU of ten years ago, in fp32."""
SHORTEST_MINUTES, LONGEST_MINUTES = 30, 1440
ATTACKS_A_STEP = 4
"""RAAT's: two views, each attacked in two balls. No method has more."""
FORWARDS_OF_AUTOATTACK = 10_000
"""For a sample that withstands all of it, 5,000 of them Square's."""


@dataclass(frozen=True)
class Resources:
    """Under Snakemake's names for them."""

    gpu: int
    mem_mb: int
    runtime: int
    """Minutes."""


def resources_of_training(cell: Cell) -> Resources:
    """For training a cell."""
    return _resources(_training_flop(cell))


def resources_of_attacks(cell: Cell, attacks: tuple[Evaluation, ...]) -> Resources:
    """For attacking a trained cell; on a GPU if it was trained on one."""
    return _resources(_attacks_flop(cell, attacks), gpu=_training_flop(cell) >= GPU_FROM_FLOP)


def resources_of_both(cell: Cell, attacks: tuple[Evaluation, ...]) -> Resources:
    """For training and attacking a cell in one job."""
    return _resources(_training_flop(cell) + _attacks_flop(cell, attacks))


def _resources(flop: float, gpu: bool | None = None) -> Resources:
    gpu = flop >= GPU_FROM_FLOP if gpu is None else gpu
    minutes = math.ceil(flop / (GPU_FLOP_PER_SECOND if gpu else CPU_FLOP_PER_SECOND) / 60)
    return Resources(
        gpu=int(gpu),
        mem_mb=8000 if gpu else 2000,
        runtime=min(max(minutes, SHORTEST_MINUTES), LONGEST_MINUTES),
    )


def _forward_flop(cell: Cell) -> float:
    """Of one image; a stem of stride 2 makes 64×64 pixels as cheap as 32×32."""
    _, height, width = DATA_SETS[cell.dataset].image_shape
    return ARCHITECTURES[cell.architecture].forward_flop * min(height * width / 32**2, 1.0)


def _training_flop(cell: Cell) -> float:
    """A step of an attack is a forward and a backward pass, each of a forward's operations."""
    data = DATA_SETS[cell.dataset]
    attacks = ATTACKS_A_STEP * 2 * cell.threat_model.steps
    updates = ATTACKS_A_STEP * 3
    selection = (2 * cell.selection.steps + 2) / cell.selection.every
    forwards = data.train_size * (attacks + updates) + data.test_size * selection
    return cell.recipe.epochs * forwards * _forward_flop(cell)


def _attacks_flop(cell: Cell, attacks: tuple[Evaluation, ...]) -> float:
    size = DATA_SETS[cell.dataset].test_size
    forwards = sum((attack.samples or size) * _forwards_of(attack) for attack in attacks)
    return forwards * _forward_flop(cell)


def _forwards_of(attack: Evaluation) -> int:
    """Forward and backward passes for one sample."""
    if isinstance(attack, AutoAttackEvaluation):
        return FORWARDS_OF_AUTOATTACK
    if isinstance(attack, PgdEvaluation):
        return 2 * attack.steps * attack.restarts + 1
    return 1
