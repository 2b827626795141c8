"""SIGKILL at random moments: the same command, typed again, ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch
from test_training import assert_equal_outcome, history_of

from conftest import SMALL_CELL, small_cell
from raat_core import api
from raat_core.cell_folder import CellFolder
from raat_core.data.dataset import DataSet
from raat_core.spec import Cell

KILLS = 20


def train_in_child(cell: Cell, folder: Path, data: DataSet) -> None:
    torch.set_num_threads(1)
    api.train(cell, folder, device="cpu", data=data)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pgd-at", "raat"])
def test_killed_at_random_moments(method: str, tmp_path: Path, small_data: DataSet) -> None:
    """Every folder is killed over and over until twenty kills have hit, then runs to its end."""
    recipe = {**SMALL_CELL["recipe"], "epochs": 4}
    cell = small_cell(method=method, recipe=recipe)
    started = time.monotonic()
    through = CellFolder(api.train(cell, tmp_path / "through", device="cpu", data=small_data))
    duration = time.monotonic() - started
    context = multiprocessing.get_context("fork")
    moments = random.Random(0)
    kills = attempt = 0
    while kills < KILLS:
        folder = tmp_path / f"killed-{attempt}"
        attempt += 1
        while not CellFolder(folder).manifest.exists():
            child = context.Process(target=train_in_child, args=(cell, folder, small_data))
            child.start()
            child.join(moments.uniform(0, duration))
            if child.is_alive():
                child.kill()
                kills += 1
            child.join()
        api.train(cell, folder, device="cpu", data=small_data)
        killed = CellFolder(folder)
        assert_equal_outcome(through, killed)
        assert [row["epoch"] for row in history_of(killed)] == ["1", "2", "3", "4"]
        assert not list(folder.rglob("*.partial"))
