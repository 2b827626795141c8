"""Timing a training step and an attack of an architecture, without training anything."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import PgdEvaluation
from raat_core.cost.flop import (
    assumed_accuracies,
    evaluation_passes,
    note_counted,
    operations_are_assumed,
    operations_of,
)
from raat_core.cost.timing import Counted, Timing, TimingFile, kind_of_training
from raat_core.data.cache import LEVELS
from raat_core.data.dataset import Split
from raat_core.errors import UserError
from raat_core.evaluation.batch import predict_split
from raat_core.evaluation.run import quickest
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.switches import FastPaths, fast_paths_from_environment
from raat_core.files.provenance import hardware, now, versions
from raat_core.models.build import build_model_for
from raat_core.models.count import count_operations
from raat_core.specs.precision import FP32, Precision
from raat_core.training.trainee import Trainee

SECONDS = 3.0
"""That each kind of work is repeated for, at least `REPEATS` times."""
REPEATS = 3
EVALUATION_BATCH = 256


def measure(
    architectures: list[str],
    dataset: str,
    batch_size: int,
    device: torch.device,
    precision: Precision = FP32,
) -> TimingFile:
    """Time PGD-AT's step and PGD-10 on random images of a data set's shape.

    Args:
        architectures: by name.
        dataset: of the catalogue; its images are not read.
        batch_size: of training; attacks have batches of 256.
        device: where.
        precision: of training; attacks are in fp32.

    Raises:
        UserError: the device's memory is too small.
    """
    use_ieee_arithmetic()
    fast = fast_paths_from_environment()
    timings: list[Timing] = []
    for architecture in architectures:
        cell = _cell(architecture, dataset, batch_size, precision)
        _count_operations(cell)
        try:
            timings += [_training(cell, device, fast), _evaluation(cell, device, fast)]
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                f"{architecture} does not fit into the memory of {device} with batches of "
                f"{batch_size} images: give a smaller --batch-size"
            ) from None
    return TimingFile(
        hardware=hardware(device), finished=now(), versions=versions(), timings=tuple(timings)
    )


def _cell(architecture: str, dataset: str, batch_size: int, precision: Precision) -> Cell:
    data: dict[str, Any] = {
        "dataset": dataset,
        "architecture": architecture,
        "method": "pgd-at",
        "threat_model": {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"},
        "recipe": {"batch_size": batch_size},
        "precision": precision,
    }
    return Cell.model_validate(data)


def _count_operations(cell: Cell) -> None:
    """If nothing says what the cell's model costs."""
    shape = DATA_SETS[cell.dataset].image_shape
    if operations_are_assumed(cell.architecture, shape):
        counted = count_operations(cell.architecture, cell.dataset)
        note_counted(cell.architecture, shape, counted)


def _counted(cell: Cell) -> Counted | None:
    """For who reads the timings; None if the architecture says it itself."""
    if ARCHITECTURES[cell.architecture].operations is not None:
        return None
    return Counted.model_validate(asdict(operations_of(cell)))


def _training(cell: Cell, device: torch.device, fast: FastPaths) -> Timing:
    size = cell.recipe.batch_size
    split = _random_split(cell, size, device, fast)
    trainee = Trainee.build(cell, device, fast)
    indices = torch.arange(size, device=device)

    def step() -> None:
        drawn = trainee.draw(split, indices, epoch=0, number=0)
        trainee.update(drawn)

    passes = trainee.method.passes(cell.threat_model.steps, correct=1.0)
    return Timing(
        architecture=cell.architecture,
        image_shape=DATA_SETS[cell.dataset].image_shape,
        kind=kind_of_training(cell.precision),
        batch_size=size,
        flop=size * passes.flop(operations_of(cell)),
        seconds=_median_seconds(step, device),
        operations=_counted(cell),
    )


def _evaluation(cell: Cell, device: torch.device, fast: FastPaths) -> Timing:
    threat, data = cell.threat_model, DATA_SETS[cell.dataset]
    split = _random_split(cell, EVALUATION_BATCH, device, fast)
    model = build_model_for(cell.architecture, cell.dataset, cell.seed).to(device)
    model = quickest(model.eval().requires_grad_(False), split, fast)
    ball = {"norm": threat.norm, "epsilon": threat.epsilon, "step_size": threat.step_size}
    pgd_10 = PgdEvaluation.model_validate({**ball, "steps": threat.steps})
    # No accuracy enters the cost of PGD.
    passes = evaluation_passes(pgd_10, data.classes, assumed_accuracies(cell.dataset))
    return Timing(
        architecture=cell.architecture,
        image_shape=data.image_shape,
        kind="pgd",
        batch_size=EVALUATION_BATCH,
        flop=EVALUATION_BATCH * passes.flop(operations_of(cell)),
        seconds=_median_seconds(lambda: predict_split(model, pgd_10, split), device),
        operations=_counted(cell),
    )


def _random_split(cell: Cell, size: int, device: torch.device, fast: FastPaths) -> Split:
    info = DATA_SETS[cell.dataset]
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, *info.image_shape), generator=draws)
    labels = torch.randint(0, info.classes, (size,), generator=draws)
    return Split(images.to(torch.uint8), labels, LEVELS, fast.memory_format).to(device)


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one repetition; the first one, in which kernels are chosen, does not count."""
    _seconds(work, device)
    times: list[float] = []
    while len(times) < REPEATS or sum(times) < SECONDS:
        times.append(_seconds(work, device))
    return statistics.median(times)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
