"""Real Snakemake runs of a sweep of tiny cells: what runs, what does not, what a failure leaves."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from checkout import Checkout
from conftest import TOY_METHOD
from raat_core.files.checksums import write_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which one cell was run to its table."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    checkout.run()
    return checkout


@pytest.fixture
def checkout(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished checkout, with Snakemake's own records of it."""
    return finished.copy(tmp_path / "copy")


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
    attack = {"kind": "pgd", "title": "PGD-4", "steps": 4, "job": "more"}
    checkout.config["attacks"]["pgd4"] = attack
    checkout.config["items"]["tiny"]["metrics"].append("pgd4")
    assert checkout.planned() == {"attack": 1, "table": 1, "cells": 1}
    checkout.run()
    after = {path: path.stat().st_mtime_ns for path in cell.rglob("*.safetensors")}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    assert checkout.table()["PGD-AT"]["pgd4_mean"]


def test_a_failed_cell_leaves_a_gap_and_is_made_up_for(checkout: Checkout) -> None:
    """The method comes from a plugin, and fails until its file is mended."""
    source = TOY_METHOD.read_text()
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
    assert "not trained (RuntimeError: not today): `" in markdown
    assert "RuntimeError: not today (log: results/tiny/logs/train/" in failed.stdout + failed.stderr

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


def test_time_limits_follow_what_was_measured_and_nothing_runs_again(checkout: Checkout) -> None:
    timing = {"architecture": "resnet-mini", "image_shape": [1, 8, 8], "kind": "training"}
    timings = [{**timing, "batch_size": 128, "flop": 1e6, "seconds": 1.0}]
    slow = {"device": "cpu", "processor": "abacus", "threads": 1}
    file = {"hardware": slow, "finished": "", "versions": {}, "timings": timings}
    write_json(checkout.path / "results/tiny/throughput/abacus.json", file)
    assert checkout.planned() == {}
    checkout.grid["seeds"] = [0, 1]
    said = checkout.snakemake("--dry-run").stdout
    assert "runtime=1440" in said
    assert "gpu=0" in said


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
