"""Faults that nobody had in mind when the program was written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from checkout import numbers_of
from conftest import SMALL_CELL, small_cell
from faults.disks import disk
from faults.processes import CONTEXT, Ended, ended, strays
from faults.tally import Tally
from raat_core import api
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet
from raat_core.training.reporter import Reporter

CELL = small_cell(recipe={**SMALL_CELL["recipe"], "epochs": 4})
ATTACKS = json.dumps([{"kind": "clean", "batch_size": 20}])


def run(cell: CellFolder, data: DataSet, before: Callable[[], object] = lambda: None) -> Ended:
    """Train and attack, as one job of a sweep does."""

    def work() -> int:
        api.load_data_set = lambda *_: data
        before()
        options = ("--folder", str(cell.path), "--attacks", ATTACKS, "--device", "cpu")
        return main(["run", json.dumps(CELL.to_json()), *options])

    return ended(work, cell.path.parent / f"{cell.path.name}.log")


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    cell = CellFolder(tmp_path_factory.mktemp("through") / "cell")
    assert run(cell, small_data).code == 0
    return cell


class Paused(Reporter):
    """Does something when an epoch is done, in the middle of a training."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.at, self.act = at, act

    def epoch_done(self, row: dict[str, object], epochs: int) -> None:
        if row["epoch"] == self.at:
            self.act()


def test_no_more_files_may_be_made(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """The disk has room, but not for another name: there are no inodes left."""
    faults = tally("unforeseen: no inodes")
    for inodes in range(2, 9):
        with disk(tmp_path / "disk", 4096) as small:
            remount = ["mount", "-o", f"remount,nr_inodes={inodes}", str(small.path)]
            subprocess.run(remount, check=True)
            cell = CellFolder(small.path / "cell")
            end = run(cell, small_data)
            if end.code:
                faults.injected += 1
                assert "No space left on device; make room" in end.errors[0]
                subprocess.run([*remount[:2], "remount,nr_inodes=1000", remount[3]], check=True)
                assert run(cell, small_data).code == 0
                faults.overcome(named=bool(end.errors))
            assert numbers_of(cell) == numbers_of(through)
            assert strays(cell.path) == []
    assert faults.injected


def test_files_may_not_be_so_large(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """`ulimit -f`, as some batch systems set it, and as old file systems have it."""
    faults = tally("unforeseen: file too large")
    for size in (200, 20_000, 90_000, 200_000):
        cell = CellFolder(tmp_path / f"{size}")
        limit = (size, resource.RLIM_INFINITY)
        end = run(cell, small_data, partial(resource.setrlimit, resource.RLIMIT_FSIZE, limit))
        faults.injected += 1
        assert end.code == 2, end
        if size > 200:  # Else there is no room for the message either.
            assert f"cannot write {cell.path}" in end.errors[0]
            assert "File too large" in end.errors[0]
        assert run(cell, small_data).code == 0
        assert numbers_of(cell) == numbers_of(through)
        assert strays(cell.path) == []
        faults.overcome(named=bool(end.errors))


def test_the_lock_is_deleted_under_a_training(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """Somebody tidies up hidden files; nobody comes, and the training makes its lock anew."""
    faults = tally("unforeseen: lock deleted")
    cell = CellFolder(tmp_path / "cell")
    tidy = Paused(2, (cell.path / ".lock").unlink)
    faults.injected += 1
    api.train(CELL, cell.path, device="cpu", data=small_data, reporter=tidy)
    assert (cell.path / ".lock").exists()
    assert run(cell, small_data).code == 0
    assert numbers_of(cell) == numbers_of(through)
    faults.overcome()


def test_the_lock_is_deleted_and_another_comes(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """The first notices before it writes again: what the second makes is not touched."""
    faults = tally("unforeseen: lock deleted")
    cell = CellFolder(tmp_path / "cell")

    def tidy() -> None:
        (cell.path / ".lock").unlink()
        while not cell.manifest.exists():
            time.sleep(0.02)

    def first() -> int:
        api.train(CELL, cell.path, device="cpu", data=small_data, reporter=Paused(2, tidy))
        return 0

    child = CONTEXT.Process(target=lambda: ended(first, tmp_path / "log"))
    child.start()
    while not cell.history.exists() or (cell.path / ".lock").exists():
        time.sleep(0.02)
    faults.injected += 1
    assert run(cell, small_data).code == 0
    child.join()
    assert (
        "another process has taken the folder; this one leaves it alone"
        in (tmp_path / "log").read_text()
    )
    assert numbers_of(cell) == numbers_of(through)
    assert len(read_manifest(cell)["sessions"]) == 2
    assert not cell.resume.exists()
    faults.overcome(named=True)


def test_the_folder_is_moved_away_under_a_training(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """Somebody renames the results while they are made; the renamed folder goes on as it was."""
    faults = tally("unforeseen: folder moved")
    cell, moved = CellFolder(tmp_path / "cell"), CellFolder(tmp_path / "moved")

    def move() -> int:
        def act() -> None:
            cell.path.rename(moved.path)

        api.load_data_set = lambda *_: small_data
        api.train(CELL, cell.path, device="cpu", data=small_data, reporter=Paused(2, act))
        return 0

    faults.injected += 1
    end = ended(move, tmp_path / "log")
    assert end.code != 0
    assert f"{cell.path} was moved or removed while a process worked in it" in end.text
    assert not cell.path.exists()
    for path in (cell, moved):
        assert run(path, small_data).code == 0
        assert numbers_of(path) == numbers_of(through)
    faults.overcome(named=True)


def test_a_training_that_is_stopped_for_a_while(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """`kill -STOP`, a closed laptop: the second waits, and the first is not overtaken."""
    faults = tally("unforeseen: suspended")
    cell = CellFolder(tmp_path / "cell")
    stop = Paused(2, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    first = CONTEXT.Process(
        target=api.train,
        args=(CELL, cell.path),
        kwargs={"device": "cpu", "data": small_data, "reporter": stop},
    )
    first.start()
    os.waitid(os.P_PID, first.pid or 0, os.WSTOPPED | os.WNOWAIT)
    faults.injected += 1
    second = CONTEXT.Process(target=run, args=(cell, small_data))
    second.start()
    time.sleep(1.5)
    assert second.is_alive()
    assert not cell.manifest.exists()
    os.kill(first.pid or 0, signal.SIGCONT)
    first.join()
    second.join()
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert numbers_of(cell) == numbers_of(through)
    assert len(read_manifest(cell)["sessions"]) == 1
    assert "is being trained by process" in (tmp_path / "cell.log").read_text()
    faults.overcome(named=True)


def test_the_clock_goes_back(
    through: CellFolder, small_data: DataSet, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """Files of the future, as after a clock was set right or from a node whose clock is wrong."""
    faults = tally("unforeseen: clock set back")
    cell = CellFolder(tmp_path / "cell")
    shutil.copytree(through.path, cell.path)
    shutil.rmtree(cell.path / "records")
    for path in cell.path.rglob("*"):
        os.utime(path, (4e9, 4e9))
    faults.injected += 1
    assert run(cell, small_data).code == 0
    assert numbers_of(cell) == numbers_of(through)
    faults.overcome()
