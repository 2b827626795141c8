"""Real Snakemake runs of attacks of one's own: in a table, in shards, and to choose the best."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from checkout import Checkout
from conftest import ATTACK_PLUGIN
from raat_core.cells.manifest import read_manifest
from raat_core.evaluation.records import Record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    shutil.copy(ATTACK_PLUGIN, checkout.path / "attacks.py")
    square = {
        "kind": "my-square",
        "title": "Square",
        "queries": 20,
        "samples": 60,
        "batch_size": 20,
    }
    config = checkout.config
    config["plugins"] = ["attacks.py"]
    config["attacks"]["sq"] = {**square, "shards": 3, "job": "own"}
    config["attacks"]["fgsm"] = {"kind": "fgsm", "title": "FGSM", "job": "training"}
    config["items"]["tiny"]["metrics"] += ["sq", "fgsm"]
    recipe = config["recipes"]["default"]
    recipe.update(epochs=3, batch_size=64, selection={"by": "fgsm"})
    checkout.grid["seeds"] = [0, 1]
    checkout.run()
    return checkout


def test_they_stand_in_the_table_and_choose_the_best(checkout: Checkout) -> None:
    row = checkout.table()["PGD-AT"]
    assert (row["sq_n"], row["fgsm_n"], row["clean_n"]) == ("60", "360", "360")
    assert 0 < float(row["fgsm_mean"]) < float(row["clean_mean"])
    for folder in checkout.cells:
        best = read_manifest(folder)["best"]
        assert best["chosen_by"] == "fgsm accuracy"
        (path,) = folder.path.glob("records/best_fgsm_*.safetensors")
        # On the same images, with the same draws.
        assert Record.read(path).accuracy == pytest.approx(best["accuracy"], abs=1.0)
        (path,) = folder.path.glob("records/best_my-square_*.safetensors")
        assert len(Record.read(path).metadata["parts"]) == 3
    results = checkout.path / "results/tiny"
    caption = (results / "tiny.md").read_text().splitlines()[0]
    assert "Best checkpoint by fgsm on the test split." in caption
    assert "Nothing to be done" in checkout.run()


def test_an_edited_setting_attacks_again_and_trains_nothing(
    checkout: Checkout, tmp_path: Path
) -> None:
    other = checkout.copy(tmp_path / "copy")
    other.config["attacks"]["sq"]["queries"] = 10
    assert other.planned() == {"attack_shard": 6, "join": 2, "table": 1, "cells": 1}


def test_a_choice_by_noise_is_named_below_the_table(checkout: Checkout, tmp_path: Path) -> None:
    other = checkout.copy(tmp_path / "copy")
    other.config["recipes"]["default"] = {
        "epochs": 2, "batch_size": 1024, "learning_rate": 1e-9, "decay_epochs": []
    }  # fmt: skip
    other.config["items"]["tiny"]["metrics"] = ["clean"]
    other.grid["seeds"] = [0]
    other.run()
    markdown = (other.path / "results/tiny/tiny.md").read_text()
    assert "Best checkpoints that chance may have chosen:" in markdown
    assert "(PGD-AT, ResNet-mini, Digits, seed 0)" in markdown
    manifests = [json.loads(f.manifest.read_text()) for f in other.cells]
    assert sum("warnings" in manifest["best"] for manifest in manifests) >= 1
