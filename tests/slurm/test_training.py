"""Cells trained on a real SLURM under everything that happens there: the same bits as in peace."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from toy import wait_until

from checkout import Checkout
from raat_core.cells.manifest import read_manifest
from slurm.cluster import Cluster
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.state import TaskState

pytestmark = pytest.mark.slurm

EPOCHS = 16
SEEDS = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which a sweep of cells of a dozen seconds or more ran on this machine."""
    checkout = Checkout(tmp_path_factory.mktemp("peaceful") / "checkout")
    checkout.config["recipes"]["default"] = {
        **{"epochs": EPOCHS, "batch_size": 32, "decay_epochs": [EPOCHS - 2]},
        "augmentation": {"crop_padding": 1, "flip": False},
    }
    checkout.config["selection"] = {"steps": 2, "every": 4}
    checkout.grid["seeds"] = SEEDS
    checkout.run()
    return checkout


@pytest.fixture
def on_slurm(peaceful: Checkout, tmp_path: Path) -> Checkout:
    """The same sweep, nothing of it done."""
    checkout = Checkout(tmp_path / "checkout")
    checkout.config = json.loads(json.dumps(peaceful.config))
    return checkout


def sessions(checkout: Checkout) -> list[list[dict[str, Any]]]:
    """Each cell's sessions: one for every process that trained it."""
    return [read_manifest(cell)["sessions"] for cell in checkout.cells]


def epochs_of(checkout: Checkout, attempt: Attempt) -> int:
    """How many epochs a job's cell has behind it."""
    (cell,) = {Path(output).parent for output in attempt.job.outputs}
    history = checkout.path / cell / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def slots(attempt: Attempt) -> int:
    """How many times a job was started."""
    state = TaskState.read(attempt.state_file)
    return int(attempt.spent.get("slots", 0)) or (state.slots if state else 0)


def _wait_for(checkout: Checkout, attempt: Attempt, slot: int, epochs: int) -> None:
    """Wait until a job is in a slot, with so many epochs behind it."""
    wait_until(
        lambda: slots(attempt) >= slot and epochs_of(checkout, attempt) >= epochs,
        90,
        f"slot {slot} with {epochs} epochs",
    )


def test_faults_of_all_kinds_change_no_bit(
    peaceful: Checkout, on_slurm: Checkout, slurm: Cluster
) -> None:
    head = on_slurm.start("slurm", slurm.environment, "--seconds-between-status-checks", "2")
    wait_until(lambda: len(on_slurm.attempts()) == len(SEEDS), 30)
    wait_until(lambda: all(epochs_of(on_slurm, a) >= 2 for a in on_slurm.attempts()), 120)
    nodes = dict(
        line.split()
        for line in slurm.run("squeue", "--noheader", "--array", "--format=%i %N").splitlines()
    )
    on_n1 = [a for a in on_slurm.attempts() if nodes[str(a.id)] == "n1"]
    on_n2 = [a for a in on_slurm.attempts() if nodes[str(a.id)] == "n2"]
    first, second = on_n1[0], on_n1[1] if len(on_n1) > 1 else on_n2[0]

    slurm.run("scontrol", "requeue", str(first.id))
    wait_until(lambda: slots(first) == 2, 60, "requeued by hand")

    # The urgent partition takes as many of this node's cores as are left and one job's more.
    node = nodes[str(second.id)]
    slurm.run(
        *("sbatch", "--partition=urgent", "--nodelist", node, "--cpus-per-task=4", "--mem=100"),
        *("--output=/dev/null", "--wrap", "sleep 3"),
    )
    wait_until(lambda: slots(second) >= 2, 90, "preempted")

    slurm.stop_controller()
    time.sleep(30)
    slurm.start_controller()

    if any(a.outcome is None for a in on_slurm.attempts()):
        slurm.kill_node("n2")
    assert head.wait(300) == 0, head.text()
    slurm.start_node("n2")
    assert on_slurm.numbers() == peaceful.numbers()
    assert len(on_slurm.attempts()) == len(SEEDS)  # Requeued under the same id, never sent again.
    assert all(a.outcome == "done" for a in on_slurm.attempts())
    assert sum(map(len, sessions(on_slurm))) > len(SEEDS)


def test_a_cell_of_several_time_slots_changes_no_bit(
    peaceful: Checkout, on_slurm: Checkout, slurm: Cluster
) -> None:
    # A minute is SLURM's shortest limit, and it looks every half minute: the first slots are ended
    # by the same signal, sent by hand.
    on_slurm.grid["seeds"] = [0]
    head = on_slurm.start(
        *("slurm", slurm.environment, "--seconds-between-status-checks", "2"),
        *("--submitit-grace", "30", "--set-resources", "train_and_attack:runtime=1"),
    )
    wait_until(lambda: on_slurm.attempts(), 30)
    (attempt,) = on_slurm.attempts()
    for slot, epochs in ((1, 2), (2, 5), (3, 8)):
        _wait_for(on_slurm, attempt, slot, epochs)
        slurm.run("scancel", "--signal=USR2", str(attempt.id))
    assert head.wait(200) == 0, head.text()
    (attempt,) = on_slurm.attempts()
    assert attempt.spent["slots"] >= 4
    (times,) = sessions(on_slurm)
    done = [(session["from_epoch"], session["from_step"]) for session in times]
    assert len(done) >= 4
    assert done == sorted(set(done))  # Every slot went on where the one before stopped.
    (cell,) = on_slurm.cells
    assert on_slurm.numbers()[cell.path.name] == peaceful.numbers()[cell.path.name]
    log = Path(attempt.job.log).read_text()
    assert log.count("back into the queue (time limit)") == attempt.spent["slots"] - 1
    assert (
        "epoch 1/" in log
    )  # Snakemake removes a rule's log at every start; the job's log has all.


def test_a_cell_that_fails_leaves_its_reason_and_the_others_go_on(
    on_slurm: Checkout, slurm: Cluster
) -> None:
    on_slurm.config["recipes"]["default"].update(epochs=1, learning_rate=0.1)
    on_slurm.grid["seeds"] = [0, 1]
    head = on_slurm.start("slurm", slurm.environment, "--seconds-between-status-checks", "2")
    wait_until(lambda: len(on_slurm.attempts()) == 2, 30)
    broken = next(a for a in on_slurm.attempts() if "_s1_" in a.job.label)
    wait_until(lambda: slots(broken) == 1, 60)
    slurm.run("scancel", str(broken.id))
    assert head.wait(120) != 0
    row = on_slurm.table()["PGD-AT"]
    assert row["clean_seeds"] == "1"
    text = (on_slurm.path / "results/tiny/tiny.md").read_text()
    assert f"job {broken.id} on ".replace("_", r"\_") in text
    assert "it was cancelled" in text
    head = on_slurm.start("slurm", slurm.environment, "--seconds-between-status-checks", "2")
    assert head.wait(120) == 0
    assert "it was cancelled" not in (on_slurm.path / "results/tiny/tiny.md").read_text()
