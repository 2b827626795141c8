"""A real Snakemake run of a robustness curve over ε: a figure from attacks of one job a cell."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from checkout import Checkout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    config = checkout.config
    config["recipes"]["default"] = {"epochs": 2, "batch_size": 64, "decay_epochs": []}
    config["threat_models"] = {"linf": {"norm": "linf", "epsilon": 0.1, "step_size": 0.05}}
    config["attacks"]["pgd"] = {"kind": "pgd", "title": "PGD-4", "steps": 4, "samples": 100}
    config["attacks"]["clean"]["samples"] = 100
    grid = {
        **checkout.grid,
        "seeds": [0, 1],
        "vary": {"attack.epsilon": [0, "1/2 of epsilon", 0.1, 0.3]},
    }
    panel = {
        "title": "P", "x": "attack.epsilon", "x_label": "ε", "metrics": ["pgd", "clean"],
        "grids": [grid],
    }  # fmt: skip
    config["items"] = {"curve": {"kind": "figure", "title": "C", "panels": {"a": panel}}}
    checkout.run()
    return checkout


def rows_of(checkout: Checkout) -> dict[tuple[str, str], dict[str, str]]:
    path = checkout.path / "results/tiny/curve.csv"
    with path.open(newline="") as file:
        return {(row["metric"], row["x"]): row for row in csv.DictReader(file)}


def test_a_curve_is_measured_over_seeds(checkout: Checkout) -> None:
    rows = rows_of(checkout)
    radii = ["0", "0.05", "0.1", "0.3"]
    assert list(rows) == [(metric, x) for metric in ("pgd", "clean") for x in radii]
    assert {(row["n_seeds"], row["samples"]) for row in rows.values()} == {("2", "100")}
    robust = [float(rows["pgd", x]["mean"]) for x in radii]
    clean = {rows["clean", x]["mean"] for x in radii}
    # Without an attack it is the clean accuracy, and what a larger ball holds is no easier.
    assert clean == {rows["pgd", "0"]["mean"]}
    assert robust == sorted(robust, reverse=True)
    assert robust[0] > robust[-1] + 10
    assert "Nothing to be done" in checkout.run()


def test_all_is_attacked_in_one_job_and_called_by_its_ball(checkout: Checkout) -> None:
    with (checkout.path / "results/tiny/cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["attack"] for row in rows if row["seed"] == "0"] == [
        "clean on 100",
        "pgd-4 ε = 0.05 on 100",
        "pgd-4 on 100",
        "pgd-4 ε = 0.3 on 100",
    ]
    assert {row["attack"]: row["epsilon"] for row in rows}["pgd-4 ε = 0.3 on 100"] == "0.1"
    (log, _) = sorted((checkout.path / "results/tiny/logs/attack").glob("*.log"))
    assert "pgd-4 ε = 0.05: " in log.read_text()


def test_another_radius_trains_nothing(checkout: Checkout, tmp_path: Path) -> None:
    other = checkout.copy(tmp_path / "copy")
    (grid,) = other.config["items"]["curve"]["panels"]["a"]["grids"]
    grid["vary"]["attack.epsilon"].append(0.2)
    assert other.planned() == {"attack": 2, "figure": 1, "cells": 1}
