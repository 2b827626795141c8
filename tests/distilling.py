"""A sweep of a method that is not part of the package, whose teacher has a teacher."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from toy import wait_until

from checkout import Checkout
from conftest import TOY_DISTILLATION
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.state import TaskState


def distilling(path: Path, epochs: int = 1) -> Checkout:
    """Nothing of it done; the innermost teacher is trained for so many epochs."""
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


def running_helper(checkout: Checkout) -> tuple[Attempt, TaskState]:
    """Wait until the innermost teacher has trained an epoch; its job, and what that says."""
    found: list[tuple[Attempt, TaskState]] = []

    def look() -> bool:
        for attempt in checkout.attempts():
            (output,) = attempt.job.outputs
            state = TaskState.read(attempt.state_file)
            history = checkout.path / Path(output).parent / "history.csv"
            is_live = state is not None and state.phase == "running" and history.exists()
            if is_live and output.endswith("/trained.json"):
                assert state is not None
                found.append((attempt, state))
        return bool(found)

    wait_until(look, 120, "the helper is trained")
    return found[-1]


def assert_gap(checkout: Checkout, why: str, said: str) -> None:
    """The table has a gap with the reason why the helper failed, and so has what was printed."""
    rows = checkout.table()
    assert float(rows["PGD-AT"]["clean_mean"]) > 0
    assert rows["KD"]["clean_mean"] == ""
    waits = "it waits for its teacher's teacher: job "
    gaps = (checkout.path / "results/tiny/tiny.cells.csv").read_text()
    assert f"not trained: {waits}" in gaps
    assert f"{why} (cell digits_resnet-mini_linf_pgd-at_s0_" in gaps
    assert f"not trained ({waits}" in (checkout.path / "results/tiny/tiny.md").read_text()
    assert waits in said


def assert_filled(checkout: Checkout) -> None:
    """No gap is left, and helpers were trained before those that need them."""
    assert_in_order(checkout)
    assert float(checkout.table()["KD"]["clean_mean"]) > 0
    assert "waits" not in (checkout.path / "results/tiny/tiny.md").read_text()


def kill_process(state: TaskState) -> None:
    """Kill the process that runs a job."""
    os.kill(state.pid, signal.SIGKILL)
