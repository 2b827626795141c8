"""`python -m raat_sweep plan`: what is left of a sweep, and how long it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GRID
from raat_core.cells.evaluations import evaluation_name
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import write_history
from raat_core.cells.spec import write_spec
from raat_core.cost.flop import Accuracies, evaluation_flop, training_flop
from raat_core.errors import UserError
from raat_core.files.checksums import write_json
from raat_sweep.commands.plan import render, show_plan
from raat_sweep.config.reading import read_config
from raat_sweep.cost.budget import Budget, Line, estimate
from raat_sweep.plan.plan import Plan

CPU = {"device": "cpu", "processor": "X", "threads": 1}
TWO_SEEDS: dict[str, Any] = {**GRID, "seeds": [0, 1]}
CONFIG: dict[str, Any] = {
    "results": "results",
    "recipes": {"default": {"epochs": 4, "decay_epochs": []}},
    "attacks": {
        "clean": {"kind": "clean", "title": "Clean", "job": "first"},
        "pgd10": {"kind": "pgd", "title": "PGD-10", "steps": 10, "job": "first"},
        "aa": {"kind": "autoattack", "title": "AA", "job": "second"},
    },
    "items": {
        "both": {
            "kind": "table",
            "title": "T",
            "metrics": ["clean", "pgd10", "aa"],
            "grids": [{**TWO_SEEDS, "methods": ["PGD-AT", "RAAT"]}],
        },
        "curves": {
            "kind": "figure",
            "title": "F",
            "panels": {
                "a": {
                    "title": "P",
                    "x": "epoch",
                    "x_label": "epoch",
                    "metrics": ["robust"],
                    "grids": [TWO_SEEDS],
                }
            },
        },
    },
}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Of `CONFIG`: four cells, each with two attack jobs; two are in the figure, too."""
    monkeypatch.chdir(tmp_path)
    return Plan(read_config(CONFIG, "test"))


def folder(plan: Plan, name: str) -> CellFolder:
    return CellFolder(Path(plan.config.results) / "cells" / name)


def train(plan: Plan, name: str, epochs: int = 4, *, seconds: float = 60.0) -> CellFolder:
    """So many epochs; the manifest is there after the last."""
    here = folder(plan, name)
    write_spec(here, plan.cells[name])
    row = {"loss": 1.0, "clean_accuracy": 90.0, "robust_accuracy": 60.0, "seconds": seconds / 4}
    write_history(here, [{"epoch": epoch + 1, **row} for epoch in range(epochs)])
    if epochs == 4:
        best = {"epoch": 4, "accuracy": 60.0}
        manifest = {"best": best, "train_seconds": seconds, "sessions": [CPU]}
        write_json(here.manifest, manifest)
    return here


def finish(plan: Plan, name: str) -> None:
    here = train(plan, name)
    for cell, attacks in plan.jobs.lists:
        if cell == name:
            write_json(here.path / plan.jobs.summary_name(cell, attacks), {"attacks": []})


def line_of(budget: Budget, name: str) -> Line:
    (line,) = [line for line in budget.lines if line.name == name]
    return line


def flop_of(plan: Plan, name: str, accuracies: Accuracies | None = None) -> float:
    """Of a whole cell with all its attacks."""
    cell = plan.cells[name]
    attacks = [
        a for (one, _), chosen in plan.jobs.lists.items() if one == name for a in chosen.attacks
    ]
    return training_flop(cell, accuracies) + sum(
        evaluation_flop(cell, attack, accuracies) for attack in attacks
    )


def test_everything_is_to_be_done_and_cells_count_once(plan: Plan) -> None:
    budget = estimate(plan)
    both, curves, total = line_of(budget, "both"), line_of(budget, "curves"), budget.total
    assert (both.cells, both.trained, both.jobs, both.attacked) == (4, 0, 8, 0)
    assert (curves.cells, curves.jobs) == (2, 0)
    assert budget.shared == 2
    assert total.cost == both.cost
    assert total.cost.flop == pytest.approx(sum(flop_of(plan, name) for name in plan.cells))
    at_the_door = [name for name in plan.cells if "pgd-at" in name]
    expected = sum(training_flop(plan.cells[name]) for name in at_the_door)
    assert curves.cost.flop == pytest.approx(expected)
    assert "_raat_" in total.longest
    assert total.longest_seconds == pytest.approx(flop_of(plan, total.longest) / 5e9)


def test_what_is_done_costs_nothing(plan: Plan) -> None:
    first, second, *others = plan.cells
    finish(plan, first)
    train(plan, second)
    known = Accuracies(0.9, 0.6)
    budget = estimate(plan)
    both = line_of(budget, "both")
    assert (both.trained, both.attacked) == (2, 2)
    # Accuracies of trained cells hold for those that are like them.
    left = flop_of(plan, second, known) - training_flop(plan.cells[second], known)
    expected = left + sum(flop_of(plan, name, known) for name in others)
    assert both.cost.flop == pytest.approx(expected)
    assert line_of(budget, "curves").cost.flop == 0
    assert line_of(budget, "curves").longest == ""


def test_trained_epochs_and_recorded_attacks_cost_nothing(plan: Plan) -> None:
    first, second, *_ = plan.cells
    train(plan, first, epochs=3)
    budget = estimate(plan, ["curves"])
    cells = plan.cells
    expected = training_flop(cells[first], done=3) + training_flop(cells[second])
    assert budget.total.cost.flop == pytest.approx(expected)
    here = train(plan, second)
    before = estimate(plan, ["both"]).total.cost.flop
    ((_, attacks), *_) = [
        (key, chosen) for key, chosen in plan.jobs.lists.items() if key[0] == second
    ]
    path = here.record(evaluation_name(attacks.attacks[1], "best"))
    path.parent.mkdir()
    path.touch()
    saved = before - estimate(plan, ["both"]).total.cost.flop
    assert saved == pytest.approx(evaluation_flop(cells[second], attacks.attacks[1]))


def test_hours_follow_what_was_measured(plan: Plan) -> None:
    first, *_ = plan.cells
    flop = training_flop(plan.cells[first], Accuracies(0.9, 0.6))
    train(plan, first, seconds=flop / 2e9)
    budget = estimate(plan, ["curves"])
    assert budget.hardware == "X, 1 thread"
    assert not budget.on_gpu
    cost = budget.total.cost
    assert cost.seconds == pytest.approx(cost.flop / 2e9)
    text = render(budget)
    assert "CPU-hours are of X, 1 thread" in text
    assert "2 GFLOP/s, one run: training ResNet-mini, images of 1 × 8 × 8" in text
    assert "how far this is off is not known" in text


def test_the_error_is_printed(plan: Plan) -> None:
    first, second, third, _ = plan.cells
    for name, rate in ((first, 1e9), (second, 2e9), (third, 2e9)):
        flop = training_flop(plan.cells[name], Accuracies(0.9, 0.6))
        train(plan, name, seconds=flop / rate)
    text = render(estimate(plan))
    assert "each from other cells: on 3 trainings: median 33%, largest 50%." in text


def test_on_another_gpu(plan: Plan) -> None:
    train(plan, next(iter(plan.cells)))
    text = render(estimate(plan, gpu="t4"))
    assert "GPU-hours are of T4" in text
    assert "3.24 TFLOP/s, assumed, not measured: 40% of its 8.1 TFLOP/s in fp32" in text
    assert "No two cells have run on it" in text


def test_large_cells_are_estimated_on_a_gpu(plan: Plan) -> None:
    text = yaml.safe_dump(CONFIG).replace("digits", "cifar10").replace("resnet-mini", "resnet-18")
    budget = estimate(Plan(read_config(yaml.safe_load(text), "test")))
    assert (budget.hardware, budget.on_gpu) == ("A100-80GB", True)
    assert budget.assumed == ["cifar10"]
    assert "assumed until a cell of a kind is trained: CIFAR-10." in render(budget)


def test_when_all_is_done_it_says_so(plan: Plan) -> None:
    for name in plan.cells:
        finish(plan, name)
    assert render(estimate(plan)) == "Everything is done: 4 cells, 8 attack jobs."
    assert render(estimate(plan, ["curves"])) == "Everything is done: 2 cells, 0 attack jobs."


def test_the_table(plan: Plan) -> None:
    finish(plan, next(iter(plan.cells)))
    header, both, curves, total, shared, *_ = render(estimate(plan)).splitlines()
    assert header.split()[:3] == ["item", "trained", "attacked"]
    assert both.split()[:3] == ["both", "1/4", "2/8"]
    assert curves.split()[:3] == ["curves", "1/2", "0/0"]
    assert total.split()[:3] == ["total", "1/4", "2/8"]
    assert shared == "2 cells stand in more than one item; the total counts each once."


def test_a_damaged_timing_is_a_warning(plan: Plan) -> None:
    (Path("results") / "throughput").mkdir(parents=True)
    (Path("results") / "throughput" / "a.json").write_text("{")
    assert "left out: results/throughput/a.json" in render(estimate(plan)).splitlines()[-1]


def test_bad_names(plan: Plan) -> None:
    with pytest.raises(UserError, match="item 'bothh'; did you mean 'both'"):
        estimate(plan, ["bothh"])
    with pytest.raises(UserError, match="--gpu 'abacus'"):
        estimate(plan, gpu="abacus")


def test_the_command_needs_no_torch(tmp_path: Path, plan: Plan) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    code = (
        "import sys; from pathlib import Path; from raat_sweep.commands.plan import show_plan;"
        "print(show_plan(Path('config.yaml'), ['curves'])); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[3]
    packages = os.pathsep.join([str(root), str(root / "workflow")])
    run = partial(
        subprocess.run,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": packages},
    )
    done = run([sys.executable, "-c", code])
    assert (done.returncode, done.stderr) == (0, "")
    again = run([sys.executable, "-m", "raat_sweep", "plan", "config.yaml", "curves"])
    assert again.stdout == done.stdout == f"{show_plan(Path('config.yaml'), ['curves'])}\n"


def test_thousands_of_cells_are_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    config["items"]["both"]["grids"][0]["seeds"] = list(range(1000))
    plan = Plan(read_config(config, "test"))
    for name in list(plan.cells)[:700]:
        finish(plan, name)
    started = time.process_time()
    budget = estimate(plan)
    assert time.process_time() - started < 3
    assert (budget.total.cells, budget.total.trained) == (2000, 700)
