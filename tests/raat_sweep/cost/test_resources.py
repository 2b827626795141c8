"""What jobs ask for: GPUs and memory by size, and a time that follows the estimate."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import SMALL_CELL, short_method, small_cell
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import standard_attacks
from raat_core.cost.flop import evaluation_flop, training_flop
from raat_core.interface.registry import BUILT_IN_METHODS
from raat_sweep.cost.resources import (
    LONGEST_MINUTES,
    SHORTEST_MINUTES,
    resources_of_attacks,
    resources_of_both,
    resources_of_training,
)
from raat_sweep.cost.throughput import Throughput
from raat_sweep.cost.timed_work import Timed

LADDER = [30, 60, 120, 240, 480, 960, 1440]


def large_cell(**changes: Any) -> Cell:
    """The paper's, on CIFAR-10."""
    threat = {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"}
    data = {"dataset": "cifar10", "architecture": "resnet-18", "method": "pgd-at"}
    return Cell.model_validate({**data, "threat_model": threat, **changes})


def measured(rate: float, *, on_gpu: bool = True, architecture: str = "resnet-18") -> Throughput:
    hardware = "GPU" if on_gpu else "CPU"
    shape = (3, 32, 32)
    return Throughput([Timed(hardware, on_gpu, architecture, shape, "training", rate, 1.0, "cell")])


@pytest.mark.parametrize("method", BUILT_IN_METHODS)
def test_small_cells_ask_for_no_gpu_and_large_ones_for_one(method: str) -> None:
    """Whatever the method: the cells of a table go to the same hardware."""
    small, large = small_cell(method=short_method(method)), large_cell(method=method)
    attacks = standard_attacks(large.threat_model)
    for resources in (
        resources_of_training(small),
        resources_of_attacks(small, attacks),
        resources_of_both(small, attacks),
    ):
        assert (resources.gpu, resources.mem_mb, resources.runtime) == (0, 2000, SHORTEST_MINUTES)
    for resources in (
        resources_of_training(large),
        resources_of_attacks(large, attacks),
        resources_of_both(large, attacks),
    ):
        assert (resources.gpu, resources.mem_mb) == (1, 8000)


@pytest.mark.parametrize("rate", [1e11, 1e12, 4e12, 2e13, 1e15])
def test_the_time_is_twice_the_estimate_in_few_steps(rate: float) -> None:
    cell = large_cell()
    attacks = standard_attacks(cell.threat_model)
    throughput = measured(rate)
    training = training_flop(cell) / rate / 60
    attacking = sum(evaluation_flop(cell, attack) for attack in attacks) / rate / 60
    for minutes, runtime in (
        (training, resources_of_training(cell, throughput).runtime),
        (attacking, resources_of_attacks(cell, attacks, throughput).runtime),
        (training + attacking, resources_of_both(cell, attacks, throughput).runtime),
    ):
        assert runtime == next((step for step in LADDER if step >= 2 * minutes), LONGEST_MINUTES)


def test_costlier_methods_ask_for_more() -> None:
    throughput = measured(2e13)
    minutes = {
        method: resources_of_training(large_cell(method=method), throughput).runtime
        for method in ("pgd-at", "raat")
    }
    assert minutes["raat"] > minutes["pgd-at"]


def test_without_a_measurement_the_slowest_gpu_is_assumed() -> None:
    cell = large_cell(recipe={"epochs": 20})
    assumed = resources_of_training(cell).runtime
    assert SHORTEST_MINUTES < assumed < LONGEST_MINUTES
    assert resources_of_training(cell, measured(1e14)).runtime < assumed
    # Neither a CPU nor a network of another size tells how fast this one is on a GPU.
    for throughput in (measured(1e9, on_gpu=False), measured(1e9, architecture="resnet-mini")):
        assert resources_of_training(cell, throughput).runtime == assumed


def test_a_long_training_on_a_cpu() -> None:
    recipe = {**SMALL_CELL["recipe"], "epochs": 2000}
    assert resources_of_training(small_cell(recipe=recipe)).runtime > SHORTEST_MINUTES
