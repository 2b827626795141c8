"""Snakemake with cells that need cells: the order of their jobs, gaps, and what fills them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy import Head

from checkout import Checkout
from distilling import (
    assert_filled,
    assert_gap,
    assert_in_order,
    by_depth,
    distilling,
    kill_process,
    running_helper,
)
from raat_core.cells.spec import read_cell
from raat_core.evaluation.records import Record

pytestmark = pytest.mark.slow
WATCH = ("--seconds-between-status-checks", "1")


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
    kill_process(running_helper(checkout)[1])
    assert head.wait(200) != 0
    assert_gap(checkout, "without a result", head.text())
    head = on_local(checkout)
    assert head.wait(400) == 0, head.text()
    assert_filled(checkout)


def test_the_source_of_a_transfer_is_trained_first(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    transfer = {"kind": "transfer", "title": "Transfer", "steps": 5}
    checkout.config["attacks"]["transfer"] = transfer
    checkout.config["items"]["tiny"]["metrics"].append("transfer")
    checkout.grid.update(methods=["PGD-AT"], seeds=[0])
    checkout.run()
    attacked, source = sorted(checkout.cells, key=lambda cell: read_cell(cell).seed)
    assert not (source.path / "records").exists()
    (path,) = attacked.path.glob("records/best_transfer*")
    record = Record.read(path)
    assert record.metadata["sources"]["source"]["cell"] == source.path.name
    row = checkout.table()["PGD-AT"]
    assert float(row["transfer_mean"]) == pytest.approx(record.accuracy, abs=0.01)
    assert checkout.planned() == {}
