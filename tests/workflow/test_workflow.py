"""Real Snakemake runs of a sweep of tiny cells: what runs, what does not, what a failure leaves."""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GRID: dict[str, Any] = {
    "datasets": ["digits"],
    "architectures": ["resnet-mini"],
    "methods": ["PGD-AT"],
    "seeds": [0],
}
CONFIG: dict[str, Any] = {
    "results": "results/tiny",
    "recipes": {"default": {"epochs": 1, "batch_size": 256, "decay_epochs": []}},
    "methods": {"MART": {"name": "mart", "lambda": 6}},
    "attacks": {
        "clean": {"kind": "clean", "title": "Clean", "job": "training"},
        "pgd10": {"kind": "pgd", "title": "PGD-10", "steps": 2, "job": "training", "samples": 50},
    },
    "items": {
        "tiny": {"kind": "table", "title": "T", "metrics": ["clean", "pgd10"], "grids": [GRID]}
    },
}


class Checkout:
    """A copy of the repository with a config of its own, and Snakemake in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: dict[str, Any] = yaml.safe_load(yaml.safe_dump(CONFIG))
        for name in ("raat_core", "workflow", "config", "envs"):
            shutil.copytree(ROOT / name, path / name, symlinks=True)
        for name in ("Snakefile", "profiles"):
            shutil.copy(ROOT / name, path / name, follow_symlinks=False)

    @property
    def grid(self) -> dict[str, Any]:
        grid: dict[str, Any] = self.config["items"]["tiny"]["grids"][0]
        return grid

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.path / "config.yaml").write_text(yaml.safe_dump(self.config))
        command = [sys.executable, "-m", "snakemake", "--configfile", "config.yaml"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [*command, "--cores", "2", *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self) -> str:
        """Run everything; returns what Snakemake said."""
        finished = self.snakemake()
        assert finished.returncode == 0, finished.stderr
        return finished.stderr

    def planned(self) -> dict[str, int]:
        """Numbers of jobs that a run would start, by rule."""
        finished = self.snakemake("--dry-run")
        assert finished.returncode == 0, finished.stderr
        rows = re.findall(r"^(\w+) +(\d+)$", finished.stdout + finished.stderr, re.MULTILINE)
        return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}

    def table(self) -> dict[str, dict[str, str]]:
        """Rows of the table's CSV by method."""
        with (self.path / "results/tiny/tiny.csv").open(newline="") as file:
            return {row["method"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which one cell was run to its table."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    checkout.run()
    return checkout


@pytest.fixture
def checkout(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished checkout, with Snakemake's own records of it."""
    shutil.copytree(finished.path, tmp_path / "copy", symlinks=True)
    copy = object.__new__(Checkout)
    copy.path, copy.config = tmp_path / "copy", yaml.safe_load(yaml.safe_dump(finished.config))
    return copy


def test_a_run_makes_what_the_readme_says(checkout: Checkout) -> None:
    results = checkout.path / "results/tiny"
    made = {path.name for path in results.iterdir()}
    assert {"tiny.csv", "tiny.md", "tiny.tex", "tiny.cells.csv", "cells.csv", "cells"} <= made
    (cell,) = (results / "cells").iterdir()
    assert {"spec.json", "manifest.json", "history.csv", "best.safetensors", "records"} <= {
        path.name for path in cell.iterdir()
    }
    row = checkout.table()["PGD-AT"]
    assert row["clean_n"] == "360"
    assert row["pgd10_n"] == "50"
    assert "Nothing to be done" in checkout.run()


def test_touched_files_lost_metadata_and_comments_retrain_nothing(checkout: Checkout) -> None:
    for folder in ("raat_core", "workflow", "results", "config"):
        paths = [path for path in (checkout.path / folder).rglob("*") if path.is_file()]
        random.Random(0).shuffle(paths)
        for path in paths:
            path.touch()
    for path in [*(checkout.path / "workflow").rglob("*.smk"), checkout.path / "Snakefile"]:
        path.write_text(path.read_text() + "\n# a comment\n")
    source = checkout.path / "raat_core/training/loop.py"
    source.write_text(source.read_text() + "\n# a comment\n")
    assert set(checkout.planned()) <= {"table", "cells"}
    shutil.rmtree(checkout.path / ".snakemake")
    assert set(checkout.planned()) <= {"table", "cells"}


def test_a_seed_and_a_changed_setting_run_only_what_is_new(checkout: Checkout) -> None:
    checkout.grid["seeds"] = [0, 1]
    assert checkout.planned() == {"train_and_attack": 1, "table": 1, "cells": 1}
    checkout.grid["methods"] = ["PGD-AT", "MART"]
    assert checkout.planned()["train_and_attack"] == 3
    checkout.config["methods"]["MART"]["lambda"] = 5
    assert checkout.planned()["train_and_attack"] == 3
    checkout.config["items"]["tiny"]["title"] = "another"
    checkout.grid.update(methods=["PGD-AT"], seeds=[0])
    assert checkout.planned() == {"table": 1}


def test_a_further_attack_neither_retrains_nor_repeats_others(checkout: Checkout) -> None:
    (cell,) = (checkout.path / "results/tiny/cells").iterdir()
    before = {path: path.stat().st_mtime_ns for path in cell.rglob("*.safetensors")}
    attack = {"kind": "pgd", "title": "PGD-1", "steps": 1, "job": "more"}
    checkout.config["attacks"]["pgd1"] = attack
    checkout.config["items"]["tiny"]["metrics"].append("pgd1")
    assert checkout.planned() == {"attack": 1, "table": 1, "cells": 1}
    checkout.run()
    after = {path: path.stat().st_mtime_ns for path in cell.rglob("*.safetensors")}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    assert checkout.table()["PGD-AT"]["pgd1_mean"]


def test_a_failed_cell_leaves_a_gap_and_is_made_up_for(checkout: Checkout) -> None:
    """The method comes from a plugin, and fails until its file is mended."""
    source = (ROOT / "tests/raat_core/toy_method.py").read_text()
    good = "        (images,) = step.views\n"
    assert good in source
    plugin = checkout.path / "toy_method.py"
    plugin.write_text(source.replace(good, '        raise RuntimeError("not today")\n'))
    checkout.config["plugins"] = ["toy_method.py"]
    checkout.config["methods"]["Toy"] = {"name": "toy"}
    checkout.grid["methods"] = ["PGD-AT", "Toy"]
    failed = checkout.snakemake()
    assert failed.returncode != 0
    assert "not today" in failed.stderr
    assert "tiny.csv: made with gaps, 2 of 4 numbers are missing" in failed.stdout + failed.stderr
    assert checkout.table()["Toy"]["clean_mean"] == ""
    assert float(checkout.table()["PGD-AT"]["clean_mean"]) > 0
    markdown = (checkout.path / "results/tiny/tiny.md").read_text()
    assert "–" in markdown
    assert "not trained" in markdown

    plugin.write_text(source)
    assert checkout.planned() == {"train_and_attack": 1, "table": 1, "cells": 1}
    checkout.run()
    assert float(checkout.table()["Toy"]["clean_mean"]) > 0
    assert "Nothing to be done" in checkout.run()


def test_a_lost_trained_marker_costs_no_training(checkout: Checkout) -> None:
    (cell,) = (checkout.path / "results/tiny/cells").iterdir()
    before = {path: path.stat().st_mtime_ns for path in cell.rglob("*.safetensors")}
    (marker,) = cell.glob("run_*.json")
    marker.unlink()
    assert checkout.snakemake("--force", str(marker.relative_to(checkout.path))).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in cell.rglob("*.safetensors")}


def test_a_bad_config_is_one_clear_line_and_runs_nothing(checkout: Checkout) -> None:
    checkout.grid["methods"] = ["PGD-ATT"]
    refused = checkout.snakemake()
    assert refused.returncode != 0
    assert "methods = 'PGD-ATT'; did you mean 'PGD-AT'?" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_results_that_cannot_be_written_are_refused(checkout: Checkout) -> None:
    (checkout.path / "file").write_text("in the way")
    checkout.config["results"] = "file/results"
    refused = checkout.snakemake("--dry-run")
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert f"results = 'file/results': {checkout.path / 'file'} is not a folder" in said
    assert "Traceback" not in said


def test_the_report_holds_the_table(checkout: Checkout) -> None:
    made = checkout.snakemake("--report", "report.zip")
    assert made.returncode == 0, made.stderr
    assert (checkout.path / "report.zip").stat().st_size > 10_000
