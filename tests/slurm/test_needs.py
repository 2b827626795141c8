"""Cells that need cells, on a real SLURM."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilling import assert_filled, assert_gap, assert_in_order, distilling, running_helper
from slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
WATCH = ("--seconds-between-status-checks", "2")


def test_helpers_are_trained_first(tmp_path: Path, slurm: Cluster) -> None:
    checkout = distilling(tmp_path / "checkout")
    head = checkout.start("slurm", slurm.environment, *WATCH)
    assert head.wait(300) == 0, head.text()
    assert_in_order(checkout)
    assert len(checkout.attempts()) == 4
    assert float(checkout.table()["KD"]["clean_mean"]) > 0


def test_a_cancelled_helper_leaves_a_gap_that_the_second_run_fills(
    tmp_path: Path, slurm: Cluster
) -> None:
    checkout = distilling(tmp_path / "checkout", epochs=40)
    head = checkout.start("slurm", slurm.environment, *WATCH)
    slurm.run("scancel", str(running_helper(checkout)[0].id))
    assert head.wait(300) != 0
    assert_gap(checkout, "it was cancelled", head.text())
    head = checkout.start("slurm", slurm.environment, *WATCH)
    assert head.wait(400) == 0, head.text()
    assert_filled(checkout)
