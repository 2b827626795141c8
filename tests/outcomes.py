"""What trainings leave, and whether two have left the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Checkpoint
from raat_core.cells.folder import CellFolder
from raat_core.cells.weights import read_weights
from raat_core.data.dataset import DataSet
from raat_core.errors import Interrupted
from raat_core.training.loop import Training


def train(cell: Cell, folder: Path, data: DataSet, **options: Any) -> CellFolder:
    return CellFolder(api.train(cell, folder, device="cpu", data=data, **options))


def weights_of(folder: CellFolder) -> dict[str, np.ndarray[Any, Any]]:
    checkpoints: tuple[Checkpoint, ...] = ("best", "last")
    return {
        f"{checkpoint}.{name}": array
        for checkpoint in checkpoints
        for name, array in read_weights(folder, checkpoint).arrays.items()
    }


def history_of(folder: CellFolder) -> list[dict[str, str]]:
    """The history without the column that depends on the clock."""
    with folder.history.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def assert_equal_outcome(first: CellFolder, second: CellFolder) -> None:
    left, right = weights_of(first), weights_of(second)
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert np.array_equal(array, right[name]), name
    assert history_of(first) == history_of(second)
    assert list(history_of(first)[0]) == list(history_of(second)[0])


class StopAt:
    """`check_stop` that interrupts at its n-th call."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupted(15)


def run_with_stops(
    cell: Cell, folder: Path, data: DataSet, every: int, **options: Any
) -> tuple[CellFolder, int]:
    """Train with an interruption at every `every`-th chance; returns the number of sessions."""
    sessions = 0
    while True:
        sessions += 1
        device, stop = torch.device("cpu"), StopAt(every)
        try:
            Training(cell, CellFolder(folder), data, device, check_stop=stop, **options).run()
        except Interrupted:
            continue
        return CellFolder(folder), sessions


def interrupted(cell: Cell, folder: Path, data: DataSet, after: int) -> CellFolder:
    """A training that was stopped at its `after`-th chance."""
    training = Training(
        cell, CellFolder(folder), data, torch.device("cpu"), check_stop=StopAt(after)
    )
    with pytest.raises(Interrupted):
        training.run()
    return CellFolder(folder)
