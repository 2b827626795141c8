"""Snakemake with cells that need cells: the order of their jobs, gaps, and what fills them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import Head, wait_until

from checkout import Checkout
from conftest import TOY_DISTILLATION
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from snakemake_executor_plugin_submitit.state import TaskState

pytestmark = pytest.mark.slow
WATCH = ("--seconds-between-status-checks", "1")


def distilling(path: Path, epochs: int = 1) -> Checkout:
    """A sweep of a method that is not part of the package, whose teacher has a teacher."""
    checkout = Checkout(path)
    (path / "toy_distillation.py").write_text(TOY_DISTILLATION.read_text())
    checkout.config["plugins"] = ["toy_distillation.py"]
    recipe = checkout.config["recipes"]["default"]
    checkout.config["recipes"]["long"] = {**recipe, "epochs": epochs, "batch_size": 64}
    inner = {"name": "distillation", "teacher": {"method": "pgd-at", "recipe": "long"}}
    teacher = {"method": inner, "checkpoint": "last"}
    checkout.config["methods"]["KD"] = {"name": "distillation", "teacher": teacher}
    checkout.grid["methods"] = ["PGD-AT", "KD"]
    return checkout


def needs_in(cell: CellFolder) -> dict[str, Any]:
    needs: dict[str, Any] = read_manifest(cell).get("needs", {})
    return needs


def by_depth(checkout: Checkout) -> list[CellFolder]:
    """The cells of one chain: the one that needs nothing, the one that needs it, and so on."""
    needs = {cell.path.name: needs_in(cell) for cell in checkout.cells}
    (last,) = [name for name, some in needs.items() if "-teacher-distillation_" in name]
    chain = [last]
    while needs[chain[-1]]:
        chain.append(needs[chain[-1]]["teacher"]["cell"])
    return [CellFolder(checkout.path / "results/tiny/cells" / name) for name in reversed(chain)]


def assert_in_order(checkout: Checkout) -> None:
    chain = by_depth(checkout)
    assert len(chain) == 3
    finished = [read_manifest(cell)["finished"] for cell in chain]
    started = [read_manifest(cell)["sessions"][0]["start"] for cell in chain]
    assert finished[0] <= started[1] <= finished[1] <= started[2]


def on_cores(checkout: Checkout) -> Head:
    return checkout.start_plain("--cores", "2")


def on_local(checkout: Checkout) -> Head:
    return checkout.start("local", {}, *WATCH, "--submitit-cores", "2")


@pytest.mark.parametrize("start", [on_cores, on_local])
def test_helpers_are_trained_first(start: Callable[[Checkout], Head], tmp_path: Path) -> None:
    checkout = distilling(tmp_path / "checkout")
    head = start(checkout)
    assert head.wait(200) == 0, head.text()
    assert_in_order(checkout)
    assert len(checkout.cells) == 4
    assert float(checkout.table()["KD"]["clean_mean"]) > 0
    rows = (checkout.path / "results/tiny/cells.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2  # Nobody attacks helpers.
    assert checkout.planned() == {}
    # A helper that stands in a table is trained no second time.
    checkout.config["methods"]["AT long"] = {"name": "pgd-at"}
    grid = {**checkout.grid, "methods": ["AT long"], "recipe": "long"}
    checkout.config["items"]["tiny"]["grids"].append(grid)
    helper = by_depth(checkout)[0]
    before = helper.manifest.read_bytes()
    checkout.run()
    assert helper.manifest.read_bytes() == before
    assert len(checkout.cells) == 4
    assert float(checkout.table()["AT long"]["clean_mean"]) > 0
    assert checkout.planned() == {}


def test_a_killed_helper_leaves_a_gap_with_the_reason(tmp_path: Path) -> None:
    checkout = distilling(tmp_path / "checkout", epochs=40)
    head = on_local(checkout)
    kill_the_helper(checkout)
    assert head.wait(200) != 0
    row = checkout.table()
    assert float(row["PGD-AT"]["clean_mean"]) > 0
    assert row["KD"]["clean_mean"] == ""
    gaps = (checkout.path / "results/tiny/tiny.cells.csv").read_text()
    waits = "not trained: it waits for its teacher's teacher: job "
    assert waits in gaps
    assert "without a result (cell digits_resnet-mini_linf_pgd-at_s0_" in gaps
    markdown = (checkout.path / "results/tiny/tiny.md").read_text()
    assert "not trained (it waits for its teacher's teacher: job " in markdown
    assert "it waits for its teacher's teacher: job " in head.text()

    # The second run fills it.
    head = on_local(checkout)
    assert head.wait(400) == 0, head.text()
    assert_in_order(checkout)
    assert float(checkout.table()["KD"]["clean_mean"]) > 0
    assert "waits" not in (checkout.path / "results/tiny/tiny.md").read_text()


def kill_the_helper(checkout: Checkout) -> None:
    """Kill the job that trains the innermost helper when it has trained some epochs."""

    def pid() -> int | None:
        for attempt in checkout.attempts():
            (output,) = attempt.job.outputs
            if output.endswith("/trained.json"):
                state = TaskState.read(attempt.state_file)
                history = checkout.path / Path(output).parent / "history.csv"
                if state is not None and state.phase == "running" and history.exists():
                    return state.pid
        return None

    wait_until(lambda: pid() is not None, 120, "the helper is trained")
    found = pid()
    assert found is not None
    os.kill(found, signal.SIGKILL)
