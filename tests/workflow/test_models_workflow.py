"""A real Snakemake run of a model that was trained elsewhere, saved five ways, beside a method."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import elsewhere
from checkout import Checkout
from raat_core.cells.manifest import read_manifest

pytestmark = pytest.mark.slow


def test_a_model_trained_elsewhere_ends_in_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = Checkout(tmp_path / "checkout")
    monkeypatch.chdir(checkout.path)
    entries = elsewhere.save_five_ways(elsewhere.trained(), Path("theirs"))
    labels = list(entries)
    checkout.config["models"] = {
        name: {**entry, "architecture_title": "ResNet-mini"} for name, entry in entries.items()
    }
    checkout.config["attacks"]["pgd10"]["job"] = "gradient"
    checkout.grid["models"] = labels
    panel = {"title": "P", "x": "method", "x_label": "Method", "metrics": ["clean"]}
    claim = {"claim": "C", "item": "tiny", "metric": "clean"}
    checkout.config["items"] |= {
        "points": {
            "kind": "figure",
            "title": "F",
            "panels": {"a": {**panel, "grids": [checkout.grid]}},
        },
        "claims": {
            "kind": "comparison",
            "title": "C",
            "claims": [{**claim, "left": ["half"], "right": ["PGD-AT"]}],
        },
    }
    assert checkout.planned()["train_and_attack"] == 6
    checkout.run()
    table = checkout.table()
    numbers = [
        {key: table[name][key] for key in ("clean_mean", "pgd10_mean", "clean_n", "pgd10_n")}
        for name in labels
    ]
    assert all(row == numbers[0] for row in numbers)
    assert float(numbers[0]["clean_mean"]) > 80 > float(numbers[0]["pgd10_mean"])
    assert numbers[0]["clean_n"] == table["PGD-AT"]["clean_n"] == "360"
    markdown = Path("results/tiny/tiny.md").read_text()
    assert "| plain | " in markdown
    assert "–" not in markdown.split("| plain |")[1].splitlines()[0]
    with Path("results/tiny/claims.claims.csv").open(newline="") as file:
        (verdict,) = csv.DictReader(file)
    assert verdict["left"] == "half"
    assert Path("results/tiny/points.png").is_file()
    with Path("results/tiny/cells.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "given"]
    assert {row["selection_split"] for row in rows} == {""}
    assert len(rows) == 2 * len(labels)
    given = [read_manifest(cell).get("given") for cell in checkout.cells]
    assert sum(one is not None for one in given) == len(labels)
    # Nothing is done again: not where the files are touched or gone, nor where they have moved.
    assert "Nothing to be done" in checkout.run()
    Path(entries["plain"]["weights"]).touch()
    Path(entries["half"]["weights"]).unlink()
    assert "Nothing to be done" in checkout.run()
