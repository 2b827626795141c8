"""SIGKILL in whole sweeps: heads, the processes that run jobs, and those that make tables.

After every kill the same command is typed again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from toy import Head, processes_of, wait_until

from checkout import Checkout
from faults.conftest import sweep
from faults.processes import strays
from faults.tally import Tally, share
from raat_core.cells.manifest import read_manifest
from slurm.cluster import Cluster
from snakemake_executor_plugin_submitit.state import TaskState

START = 2.0
"""About how many seconds Snakemake takes until it starts its first job."""
WATCH = ("--seconds-between-status-checks", "1")
Start = Callable[[Checkout], Head]


def on_cores(checkout: Checkout) -> Head:
    return checkout.start_plain("--cores", "2")


def on_local(checkout: Checkout) -> Head:
    return checkout.start("local", {}, *WATCH, "--submitit-cores", "2")


def assert_as_if_nothing_had_been(checkout: Checkout, undisturbed: Checkout) -> None:
    """The same numbers, every epoch trained once but for what was cut off, nothing left over."""
    wait_until(lambda: not processes_of(checkout.path), 60, "processes are left")
    assert checkout.numbers() == undisturbed.numbers()
    for cell in checkout.cells:
        sessions = [each["from_epoch"] for each in read_manifest(cell)["sessions"]]
        assert all(before <= after for before, after in pairwise(sessions)), sessions
        assert not cell.resume.exists()
        assert not cell.parts.exists()
    assert strays(checkout.path / "results", checkout.path / ".snakemake/submitit") == []
    assert checkout.planned() == {}


def start_until_done(start: Start, checkout: Checkout, times: int = 3) -> None:
    """The same command; a second time where jobs that were killed before were found to be dead."""
    for _ in range(times):
        head = start(checkout)
        if head.wait(180) == 0:
            return
    raise AssertionError(head.text())


def kill_heads(
    start: Start, undisturbed: Checkout, folder: Path, chance: random.Random, faults: Tally,
    kills: int, seconds: float,
) -> None:  # fmt: skip
    """Kill heads between their first second and `seconds`, alone or with all that is below them."""
    attempt = 0
    while faults.injected < kills:
        checkout, attempt, before = sweep(folder / f"{attempt}"), attempt + 1, faults.injected
        while faults.injected < kills and faults.injected - before < 4:
            head = start(checkout)
            with contextlib.suppress(subprocess.TimeoutExpired):
                head.process.wait(chance.uniform(1, seconds))
                break
            faults.injected += 1
            if chance.random() < 0.5:
                head.send(signal.SIGKILL)
            head.kill()
        start_until_done(start, checkout)
        assert_as_if_nothing_had_been(checkout, undisturbed)
        faults.overcome(faults.injected - before)


def kill_tasks(
    start: Start, undisturbed: Checkout, folder: Path, chance: random.Random, faults: Tally,
    kills: int,
) -> None:  # fmt: skip
    """Kill every process that runs a job, once, at a random moment of its life."""
    attempt = 0
    while faults.injected < kills:
        checkout, attempt, before = sweep(folder / f"{attempt}"), attempt + 1, faults.injected
        for _ in range(8):
            head, due = start(checkout), dict[tuple[str, int], float]()
            while head.process.poll() is None:
                for one in checkout.attempts():
                    state = TaskState.read(one.state_file)
                    key = one.submission, one.index
                    if one.outcome is None and state is not None and state.phase == "running":
                        due.setdefault(key, time.monotonic() + chance.uniform(0, 6))
                        if time.monotonic() > due[key] and faults.injected < kills:
                            due[key] = float("inf")
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(state.pid, signal.SIGKILL)
                                faults.injected += 1
                time.sleep(0.1)
            if head.process.returncode == 0:
                break
            assert "SIGKILL" in head.text() or "ended" in head.text() or "failed" in head.text()
        assert_as_if_nothing_had_been(checkout, undisturbed)
        faults.overcome(faults.injected - before)


def test_heads_on_cores(
    undisturbed: Checkout, tmp_path: Path, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    faults = tally("kill: Snakemake --cores")
    kill_heads(on_cores, undisturbed, tmp_path, chance, faults, share(9), 15)


@pytest.mark.thorough
def test_heads_on_local(
    undisturbed: Checkout, tmp_path: Path, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    faults = tally("kill: Snakemake --profile local")
    kill_heads(on_local, undisturbed, tmp_path, chance, faults, share(6), 20)


def test_tasks_on_local(
    undisturbed: Checkout, tmp_path: Path, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    faults = tally("kill: job of --profile local")
    kill_tasks(on_local, undisturbed, tmp_path, chance, faults, share(8))


@pytest.mark.thorough
@pytest.mark.slurm
def test_heads_on_slurm(
    undisturbed: Checkout, slurm: Cluster, tmp_path: Path, chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:  # fmt: skip
    faults = tally("kill: Snakemake --profile slurm")
    kill_heads(on(slurm), undisturbed, tmp_path, chance, faults, share(5), 25)


@pytest.mark.thorough
@pytest.mark.slurm
def test_tasks_on_slurm(
    undisturbed: Checkout, slurm: Cluster, tmp_path: Path, chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:  # fmt: skip
    faults = tally("kill: job of --profile slurm")
    kill_tasks(on(slurm), undisturbed, tmp_path, chance, faults, share(6))


def on(slurm: Cluster) -> Start:
    return lambda checkout: checkout.start("slurm", slurm.environment, *WATCH)


@pytest.fixture
def aggregated(undisturbed: Checkout, tmp_path: Path) -> Checkout:
    """The same sweep with more to make of it."""
    checkout = undisturbed.copy(tmp_path / "undisturbed")
    items = checkout.config["items"]
    panel = {"title": "Epochs", "x": "epoch", "x_label": "epoch", "grids": [checkout.grid]}
    panel["metrics"] = ["clean", "robust"]
    items["curves"] = {"kind": "figure", "title": "C", "panels": {"a": panel}}
    items.update({f"more{number}": items["tiny"] for number in range(2)})
    checkout.run()
    return checkout


def test_tables_in_the_making(
    aggregated: Checkout, tmp_path: Path, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    """Every script of a run is killed, in several runs, until tables and figures stand."""
    faults, kills, attempt = tally("kill: tables and figures"), share(12), 0
    expected = aggregated.numbers()
    while faults.injected < kills:
        checkout, attempt, before = (
            aggregated.copy(tmp_path / f"{attempt}"), attempt + 1, faults.injected
        )  # fmt: skip
        for path in (checkout.path / "results/tiny").glob("[!.]*.*"):
            path.unlink()
        for _ in range(3):
            faults.injected += kill_scripts(checkout, chance)
        start_until_done(on_cores, checkout)
        assert checkout.numbers() == expected
        assert strays(checkout.path / "results") == []
        faults.overcome(faults.injected - before)


def kill_scripts(checkout: Checkout, chance: random.Random) -> int:
    """Kill every script of one run of Snakemake at a random moment; returns how many were hit."""
    head, kills, due = on_cores(checkout), 0, dict[int, float]()
    while head.process.poll() is None:
        for script in scripts_of(checkout.path):
            due.setdefault(script.pid, time.monotonic() + chance.uniform(0, 1.5))
            if time.monotonic() > due[script.pid]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    script.kill()
                    kills += 1
        time.sleep(0.05)
    return kills


def scripts_of(folder: Path) -> list[psutil.Process]:
    """Processes that Snakemake started in a folder for scripts."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if process.cwd() == str(folder) and "build_item.py" in "".join(line[-1:]):
                found.append(process)
    return [process for process in found if process.name().startswith("python")]
