"""A real Snakemake run: accuracies by class, made from the records of a table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from checkout import Checkout
from conftest import GRID

pytestmark = pytest.mark.slow


def test_classes_are_made_from_the_records_of_a_table(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.run()
    checkout.config["items"]["by-class"] = {
        "kind": "classes",
        "title": "By class",
        "metrics": ["clean", "pgd10"],
        "grids": [GRID],
    }
    assert set(checkout.planned()) == {"classes"}, "no attack is run for it"
    checkout.run()
    results = checkout.path / "results/tiny"
    for kind in ("png", "pdf", "md", "cells.csv"):
        assert (results / f"by-class.{kind}").stat().st_size > 0
    with (results / "by-class.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    weighted = sum(float(line["clean_mean"]) * int(line["clean_n"]) for line in lines)
    images = sum(int(line["clean_n"]) for line in lines)
    whole = float(checkout.table()["PGD-AT"]["clean_mean"])
    assert images == 360
    assert weighted / images == pytest.approx(whole, abs=0.01)
    with (results / "by-class.confusion.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    assert {pair["metric"] for pair in pairs} == {"pgd10"}
    assert "Nothing to be done" in checkout.run()
