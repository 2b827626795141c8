"""Long runs: no more memory, open files or threads after hundreds of epochs than after some."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from conftest import SMALL_CELL, small_cell
from raat_core.cells.evaluations import EvaluationList, PgdEvaluation
from raat_core.cells.folder import CellFolder
from raat_core.data.dataset import DataSet
from raat_core.evaluation.run import evaluate_cell
from raat_core.training.loop import Training
from raat_core.training.reporter import Reporter

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
ALLOWED_KIB = 4096
"""The allocator's own wandering; losses kept with their graphs take 35 KiB a step, 11 MiB here."""


class Held(NamedTuple):
    """What this process holds of the machine."""

    resident_kib: int
    files: int
    threads: int


def held() -> Held:
    gc.collect()
    status = Path("/proc/self/status").read_text().split("\n")
    (resident,) = (int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    (threads,) = (int(line.split()[1]) for line in status if line.startswith("Threads"))
    assert threads >= threading.active_count()
    return Held(resident, len(list(Path("/proc/self/fd").iterdir())), threads)


def require_no_growth(looks: Sequence[Held], what: str) -> None:
    early, late = looks
    print(f"{what}: {early} -> {late}")
    assert late.files <= early.files
    assert late.threads <= early.threads
    assert late.resident_kib - early.resident_kib < ALLOWED_KIB


class Watch(Reporter):
    """Looks after a third of the epochs, and after the last."""

    def __init__(self) -> None:
        self.looks: list[Held] = []

    def epoch_done(self, row: dict[str, Any], epochs: int) -> None:
        if row["epoch"] in (epochs // 3, epochs):
            self.looks.append(held())


def few(data: DataSet) -> DataSet:
    return DataSet(data.train.take(torch.arange(32)), data.test.take(torch.arange(8)), 10)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_hundreds_of_epochs(tmp_path: Path, small_data: DataSet) -> None:
    """Of the method with most state: an average of the weights, and a teacher's outputs."""
    recipe = {**SMALL_CELL["recipe"], "epochs": 240, "batch_size": 16, "decay_epochs": []}
    method = {"name": "raat#", "average_from": 2}
    threat = {**SMALL_CELL["threat_model"], "steps": 1}
    cell = small_cell(recipe=recipe, method=method, threat_model=threat, selection={"steps": 1})
    watch, folder = Watch(), CellFolder(tmp_path / "cell")
    Training(cell, folder, few(small_data), CPU, reporter=watch).run()
    require_no_growth(watch.looks, "160 epochs more")
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "best.safetensors", "history.csv", "last.safetensors", "manifest.json", "spec.json",
    ]  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_thousands_of_batches_attacked(tmp_path: Path, small_data: DataSet) -> None:
    folder = CellFolder(tmp_path / "cell")
    recipe = {**SMALL_CELL["recipe"], "epochs": 1, "decay_epochs": []}
    Training(small_cell(recipe=recipe), folder, small_data, CPU).run()
    test = small_data.test.take(torch.arange(3000) % len(small_data.test))
    data = DataSet(small_data.train, test, 10)
    looks: list[Held] = []
    evaluate_cell(folder, attacks(), data, CPU, check_stop=_looking(looks, after=(1000, 6000)))
    require_no_growth(looks, "2,500 batches more")


def attacks() -> EvaluationList:
    ball: dict[str, Any] = {"norm": "linf", "epsilon": 0.15, "step_size": 0.05}
    return EvaluationList(attacks=(PgdEvaluation(**ball, steps=1, batch_size=1),))


def _looking(looks: list[Held], after: tuple[int, ...]) -> Callable[[], None]:
    """Asked before every batch and every restart: twice a batch."""
    count = 0

    def look() -> None:
        nonlocal count
        count += 1
        if count in after:
            looks.append(held())

    return look
