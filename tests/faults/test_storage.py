"""Storage that gives out: full disks, quotas, read-only folders, errors in the middle of a file.

One line says which file cannot be written, why, and what to do; then the same command goes on.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from checkout import numbers_of
from conftest import SMALL_CELL, small_cell
from faults.disks import disk, failing
from faults.processes import Ended, ended, strays
from faults.tally import KILLS, Tally
from raat_core import api
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet

FAULTS = max(6, KILLS // 5)
"""Of each kind."""
CELL = small_cell(recipe={**SMALL_CELL["recipe"], "epochs": 4})
PGD = {"kind": "pgd", "norm": "linf", "epsilon": 0.15, "step_size": 0.05, "steps": 2}
ATTACKS = json.dumps([{"kind": "clean"}, {**PGD, "batch_size": 20}])
SHARDED = json.dumps([{**PGD, "batch_size": 5}])
PLENTY = 4096


def run(
    cell: CellFolder, data: DataSet, log: Path, failure: Callable[[], object] | None = None
) -> Ended:
    """Train and attack, as one job of a sweep does."""

    def work() -> int:
        api.load_data_set = lambda *_: data
        if failure:
            failure()
        options = ("--folder", str(cell.path), "--attacks", ATTACKS, "--device", "cpu")
        summary = str(cell.path / "run.json")
        return main(["run", json.dumps(CELL.to_json()), *options, "--summary", summary])

    return ended(work, log)


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    folder = tmp_path_factory.mktemp("through")
    cell = CellFolder(folder / "cell")
    assert run(cell, small_data, folder / "log").code == 0
    return cell


def assert_named(end: Ended, below: Path, why: int) -> None:
    """One line that names a file, the reason, and what to do; no traceback."""
    assert end.code == 2, end
    assert "Traceback" not in end.text, end
    assert len(end.errors) == 1, end
    assert f"cannot write {below}" in end.errors[0], end
    assert os.strerror(why) in end.errors[0], end
    assert "give the same command again" in end.errors[0], end


def assert_whole(cell: CellFolder, through: CellFolder) -> None:
    assert numbers_of(cell) == numbers_of(through)
    assert (cell.path / "run.json").exists()
    assert strays(cell.path) == []


def test_a_full_disk(
    through: CellFolder,
    small_data: DataSet,
    tmp_path: Path,
    chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:
    """Of a random size, so that it is full at any file; then with room for a little more."""
    faults = tally("full disk")
    with disk(tmp_path / "large", PLENTY) as large:
        assert run(CellFolder(large.path / "cell"), small_data, tmp_path / "log").code == 0
        most = large.pages + 3 * 64  # States and what is being written take more than the end.
    while faults.injected < FAULTS:
        with disk(tmp_path / "small", size := chance.randrange(2, most)) as small:
            cell = CellFolder(small.path / "cell")
            end, hits = run(cell, small_data, tmp_path / "log"), 0
            while end.code != 0:
                hits += 1
                assert_named(end, cell.path, errno.ENOSPC)
                small.resize(size := size + chance.randrange(1, 64))
                end = run(cell, small_data, tmp_path / "log")
            assert_whole(cell, through)
            faults.injected += hits
            faults.overcome(hits, named=True)


def test_a_full_disk_with_the_log_on_it(
    through: CellFolder, small_data: DataSet, tmp_path: Path, chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:  # fmt: skip
    """What is printed has no room either: it must not matter."""
    faults = tally("full disk, log and all")
    while faults.injected < FAULTS // 2:
        with disk(tmp_path / "small", chance.randrange(10, 200)) as small:
            cell, log = CellFolder(small.path / "cell"), small.path / "log"
            end = run(cell, small_data, log)
            assert "Traceback" not in end.text
            if end.code:
                faults.injected += 1
                small.resize(PLENTY)
                assert run(cell, small_data, log).code == 0
                faults.overcome()
            assert_whole(cell, through)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE])
def test_errors_in_the_middle(
    code: int, through: CellFolder, small_data: DataSet, tmp_path: Path, chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:  # fmt: skip
    """The n-th flush or rename fails, and all that follow, until the command is given again."""
    faults = tally(f"error: {os.strerror(code)}")
    for number in range(FAULTS):
        cell, log = CellFolder(tmp_path / f"{number}"), tmp_path / "log"
        while True:
            fail = partial(failing, chance.randrange(1, 30), code, cell.path)
            end = run(cell, small_data, log, fail)
            if end.code == 0:
                break
            faults.injected += 1
            assert_named(end, cell.path, code)
            faults.overcome(named=True)
        assert_whole(cell, through)


def test_a_read_only_folder(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    faults = tally("read-only folder")
    with disk(tmp_path / "disk", PLENTY) as small:
        cell, log = CellFolder(small.path / "cell"), tmp_path / "log"
        trained = small.path / "trained"
        shutil.copytree(through.path, trained)
        shutil.rmtree(trained / "records")
        done = CellFolder(trained)
        commands = [
            partial(run, cell, small_data, log),
            partial(attack, done, small_data, log, "--attacks", SHARDED, "--shard", "1/2"),
            partial(attack, done, small_data, log, "--attacks", ATTACKS),
        ]
        for command in commands:
            small.make_read_only()
            faults.injected += 1
            assert_named(command(), small.path, errno.EROFS)
            small.make_read_only(False)
            assert command().code == 0
            faults.overcome(named=True)
        assert_whole(cell, through)


def attack(cell: CellFolder, data: DataSet, log: Path, *arguments: str) -> Ended:
    def work() -> int:
        api.load_data_set = lambda *_: data
        return main(["attack", str(cell.path), *arguments, "--device", "cpu"])

    return ended(work, log)
