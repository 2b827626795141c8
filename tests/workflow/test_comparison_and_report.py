"""Real Snakemake runs: a comparison with published numbers, and the report of everything."""

from __future__ import annotations

import csv
import re
import zipfile
from pathlib import Path

import pytest

from checkout import Checkout

pytestmark = pytest.mark.slow

PUBLISHED = """dataset,architecture,norm,epsilon,method,source,metric,mean,std
Digits,ResNet-mini,linf,8/255,PGD-AT,X'20,clean,50,40
Digits,ResNet-mini,linf,8/255,MMA,X'20,clean,60,1
"""


def test_a_comparison_and_a_report_of_a_sweep(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    (checkout.path / "numbers.csv").write_text(PUBLISHED)
    checkout.grid["methods"] = ["PGD-AT", "TRADES"]
    checkout.config["items"]["tiny"]["cited"] = "numbers.csv"
    checkout.config["items"]["tiny"]["source"] = "Table 7 of a paper"
    checkout.config["items"]["against"] = {
        "kind": "comparison",
        "title": "Against the numbers",
        "published": {"tiny": "numbers.csv"},
        "claims": [
            {
                "claim": "TRADES is above PGD-AT",
                "item": "tiny",
                "metric": "pgd10",
                "left": ["TRADES"],
                "right": ["PGD-AT"],
            }
        ],
    }
    finished = checkout.snakemake("results/tiny/report.zip")
    assert finished.returncode == 0, finished.stderr
    results = checkout.path / "results/tiny"
    with (results / "against.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    measured = checkout.table()["PGD-AT"]
    assert float(row["mean"]) == pytest.approx(float(measured["clean_mean"]), abs=0.01)
    assert row["within_spread"] == "True"
    with (results / "against.claims.csv").open(newline="") as file:
        (claim,) = csv.DictReader(file)
    assert claim["p_samples"]
    assert "MMA† (X'20)" in (results / "tiny.md").read_text()

    with zipfile.ZipFile(results / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        page = archive.read("report/report.html").decode()
    assert {"tiny.csv", "against.html", "report.html"} <= names
    text = re.sub(r"\s+", " ", page)
    assert "From: Table 7 of a paper." in text
    assert "training attack of 10 steps of 2/255" in text

    assert "Nothing to be done" in checkout.run(), "the report is asked for by name alone"
    (checkout.path / "numbers.csv").write_text(PUBLISHED.replace("50,40", "51,40"))
    assert set(checkout.planned()) == {"table", "comparison"}, "a published number has changed"
