"""Real Snakemake runs of attacks in shards: what they make, and what a failed shard leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from checkout import Checkout
from raat_core.evaluation.records import Record

pytestmark = pytest.mark.slow

AUTOATTACK = {"kind": "autoattack", "title": "AA", "samples": 5, "batch_size": 2, "shards": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which one cell is trained, and attacked but for AutoAttack."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    checkout.config["recipes"]["default"] = {"epochs": 2, "batch_size": 64, "decay_epochs": []}
    checkout.run()
    checkout.config["attacks"]["aa"] = dict(AUTOATTACK)
    checkout.config["items"]["tiny"]["metrics"].append("aa")
    return checkout


@pytest.fixture
def checkout(trained: Checkout, tmp_path: Path) -> Checkout:
    return trained.copy(tmp_path / "copy")


def cell_of(checkout: Checkout) -> Path:
    (cell,) = (checkout.path / "results/tiny/cells").iterdir()
    return cell


def record_of(checkout: Checkout) -> Record:
    (path,) = cell_of(checkout).glob("records/best_autoattack_*.safetensors")
    return Record.read(path)


def test_shards_make_the_table_that_one_job_makes(checkout: Checkout, tmp_path: Path) -> None:
    whole = checkout.copy(tmp_path / "whole")
    whole.config["attacks"]["aa"]["shards"] = 1
    assert whole.planned() == {"attack": 1, "table": 1, "cells": 1}
    whole.run()
    assert checkout.planned() == {"attack_shard": 3, "join": 1, "table": 1, "cells": 1}
    checkout.run()
    assert checkout.table() == whole.table()
    assert 0 < float(checkout.table()["PGD-AT"]["aa_mean"]) < 100
    expected, found = record_of(whole), record_of(checkout)
    assert np.array_equal(found.prediction, expected.prediction)
    assert [part["batches"] for part in found.metadata["parts"]] == [[1, 1], [2, 2], [3, 3]]
    assert not (cell_of(checkout) / "records/parts").exists()
    assert not (cell_of(checkout) / "shards").exists()
    (summary,) = cell_of(checkout).glob("joined_*.json")
    assert json.loads(summary.read_text())["shards"] == 3
    assert "Nothing to be done" in checkout.run()
    # Neither a joined list nor a whole one is attacked again because of another number of shards.
    for done in (checkout, whole):
        done.config["attacks"]["aa"]["shards"] = 2
        assert done.planned() == {}
    (checkout.path / "results/tiny/tiny.csv").unlink()
    assert checkout.planned() == {"table": 1}


def test_a_failed_shard_leaves_a_gap_and_is_run_again_alone(checkout: Checkout) -> None:
    pgd = {"kind": "pgd", "steps": 4, "job": "shared"}
    checkout.config["attacks"]["aa"] = {**AUTOATTACK, **pgd}
    source = checkout.path / "raat_core/evaluation/batch.py"
    good = source.read_text()
    line = "    require_evaluation_mode(model)\n"
    assert line in good
    bad = '    if samples.number == 1:\n        raise RuntimeError("not today")\n'
    source.write_text(good.replace(line, line + bad))
    failed = checkout.snakemake()
    assert failed.returncode != 0
    assert "1 of 3 numbers are missing" in failed.stdout + failed.stderr
    assert checkout.table()["PGD-AT"]["aa_mean"] == ""
    markdown = (checkout.path / "results/tiny/tiny.md").read_text()
    assert "not attacked (RuntimeError: not today): `" in markdown
    assert "_2of3.log" in failed.stdout + failed.stderr

    source.write_text(good)
    assert checkout.planned() == {"attack_shard": 1, "join": 1, "table": 1, "cells": 1}
    checkout.run()
    assert checkout.table()["PGD-AT"]["aa_n"] == "5"
    assert "Nothing to be done" in checkout.run()


def test_parts_that_were_lost_are_made_again(checkout: Checkout) -> None:
    """Shards that are done and whose parts are gone do not hold a sweep up for good."""
    checkout.config["attacks"]["aa"] = {**AUTOATTACK, "kind": "clean", "job": "shared"}
    made = checkout.snakemake("--until", "attack_shard", "--notemp")
    assert made.returncode == 0, made.stderr
    parts = sorted((cell_of(checkout) / "records/parts").iterdir())
    assert len(parts) == 3
    parts[1].unlink()
    failed = checkout.snakemake()
    assert failed.returncode != 0
    assert "not attacked yet: 2 of 3 batches" in failed.stdout + failed.stderr
    assert checkout.planned()["attack_shard"] == 3
    checkout.run()
    assert checkout.table()["PGD-AT"]["aa_n"] == "5"
