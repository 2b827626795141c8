"""SIGKILL in trainings and attacks: the same command, typed again, ends as if nothing had been."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from checkout import numbers_of
from conftest import SMALL_CELL, short_method, small_cell
from faults.processes import killed, strays
from faults.tally import Tally, share
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import CleanEvaluation, EvaluationList, PgdEvaluation
from raat_core.cells.folder import CellFolder
from raat_core.data.dataset import DataSet
from raat_core.evaluation import run
from raat_core.evaluation.batch import Samples, attack_batch
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Shard
from raat_core.evaluation.run import evaluate_cell
from raat_core.training.reporter import Reporter

EPOCHS = 4
STEPS = 5
"""Of an epoch: 136 images in batches of 32."""
METHODS = ["pgd-at", "raat", "rebat"]


@dataclass
class StepLog(Reporter):
    """Notes every start and every step in a file, in a way that a kill does not undo."""

    path: Path

    def _note(self, line: str) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(f"{line}\n".encode())

    def started(self, done: int, total: int) -> None:
        self._note(f"start {done}")

    def step_done(self) -> None:
        self._note("step")


def sessions_in(log: Path) -> list[tuple[int, int]]:
    """Of every session: after how many steps it started, and after how many it ended."""
    found: list[tuple[int, int]] = []
    for line in log.read_text().splitlines():
        if line.startswith("start"):
            found.append((int(line.split()[1]),) * 2)
        else:
            found[-1] = (found[-1][0], found[-1][1] + 1)
    return found


def train(cell: Cell, folder: Path, data: DataSet) -> None:
    api.train(cell, folder, device="cpu", data=data, reporter=StepLog(folder.with_suffix(".log")))


@pytest.mark.parametrize("method", METHODS)
def test_trainings(
    method: str,
    tmp_path: Path,
    small_data: DataSet,
    chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:
    recipe = {**SMALL_CELL["recipe"], "epochs": EPOCHS}
    cell = small_cell(method=short_method(method), recipe=recipe)
    began = time.monotonic()
    train(cell, tmp_path / "through", small_data)
    duration = time.monotonic() - began
    through = numbers_of(CellFolder(tmp_path / "through"))
    kills, faults, attempt = share(38 / len(METHODS)), tally("kill: training"), 0
    while faults.injected < kills:
        folder, attempt, before = tmp_path / f"{attempt}", attempt + 1, faults.injected
        work = partial(train, cell, folder, small_data)
        while not CellFolder(folder).manifest.exists():
            faults.injected += killed(work, chance.uniform(0, duration))
        work()
        assert numbers_of(CellFolder(folder)) == through
        assert strays(folder) == []
        assert not CellFolder(folder).resume.exists()
        assert_trained_once(sessions_in(folder.with_suffix(".log")))
        faults.overcome(faults.injected - before)


def assert_trained_once(sessions: list[tuple[int, int]]) -> None:
    """Every session goes on where the one before was saved: at most one epoch is cut off."""
    for (_, reached), (start, _) in pairwise(sessions):
        assert start in (reached // STEPS * STEPS, reached // STEPS * STEPS - STEPS), sessions
        assert reached - start <= STEPS, sessions
    assert sessions[-1][1] == EPOCHS * STEPS


BALL: dict[str, Any] = {"norm": "linf", "epsilon": Fraction(3, 20)}
PGD = PgdEvaluation(**BALL, step_size=Fraction(1, 20), steps=4, restarts=2, batch_size=5)
BATCHES = 12
"""Of the 60 test images."""
ATTACKS = EvaluationList(attacks=(CleanEvaluation(batch_size=7), PGD))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    folder = tmp_path_factory.mktemp("trained") / "cell"
    return CellFolder(api.train(small_cell(), folder, device="cpu", data=small_data))


def attack(cell: CellFolder, data: DataSet, shard: Shard | None) -> None:
    """Attack with every batch kept and noted."""

    def noted(model: Any, evaluation: Any, samples: Samples, *more: Any) -> Any:
        if evaluation.kind == "pgd":
            with (cell.path.parent / "batches").open("ab", buffering=0) as file:
                file.write(f"{samples.number}\n".encode())
        return attack_batch(model, evaluation, samples, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SAVE_EVERY", 0.0)
        patch.setattr(run, "attack_batch", noted)
        evaluate_cell(cell, ATTACKS, data, torch.device("cpu"), shard=shard)


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "shards"])
def test_attacks(
    sharded: bool,
    tmp_path: Path,
    small_data: DataSet,
    trained: CellFolder,
    chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:
    """Whole ones and shards of changing number; shards are joined, which is killed, too."""
    through = CellFolder(tmp_path / "through/cell")
    shutil.copytree(trained.path, through.path)
    began = time.monotonic()
    evaluate_cell(through, ATTACKS, small_data, torch.device("cpu"))
    duration = time.monotonic() - began
    kills, attempt = share(14), 0
    faults = tally(f"kill: {'attack shards and join' if sharded else 'attack'}")
    while faults.injected < kills:
        cell, attempt, before = (
            CellFolder(tmp_path / f"{attempt}/cell"),
            attempt + 1,
            faults.injected,
        )
        shutil.copytree(trained.path, cell.path)
        work: list[Callable[[], object]] = [partial(attack, cell, small_data, None)]
        if sharded:
            shards = [Shard(n, of) for of in (2, 3) for n in range(1, of + 1)]
            work = [partial(attack, cell, small_data, shard) for shard in shards]
            chance.shuffle(work)
            work.append(partial(join_cell, cell, ATTACKS))
        for do in work:
            for _ in range(chance.randint(1, 4)):
                faults.injected += killed(do, chance.uniform(0, duration / len(work)))
            do()
        assert numbers_of(cell) == numbers_of(through)
        assert strays(cell.path) == []
        assert not cell.parts.exists()
        attacked = (cell.path.parent / "batches").read_text().split()
        assert len(attacked) <= BATCHES + faults.injected - before
        assert set(attacked) == set(map(str, range(BATCHES)))
        faults.overcome(faults.injected - before)


def test_the_moments_are_drawn_from_the_seed(chance: random.Random) -> None:
    from faults.tally import SEED, moments

    assert str(SEED) == os.environ["FAULTS_SEED"]
    name = "test_the_moments_are_drawn_from_the_seed"
    assert chance.random() == moments(name).random() != moments("another").random()
