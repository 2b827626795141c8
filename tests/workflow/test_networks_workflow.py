"""A real Snakemake run of networks, a data set and attacks of one's own: they learn."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from checkout import Checkout
from conftest import ATTACK_PLUGIN, GRID, NETWORK_PLUGIN
from raat_sweep.commands.plan import show_plan

pytestmark = pytest.mark.slow

CHANCE = 10.0
LEAST_CLEAN, LEAST_ROBUST = 60.0, 40.0
"""In percent, after so few epochs; they reach about 85 and 70."""
NO_AUGMENTATION: dict[str, Any] = {"crop_padding": 0, "flip": False}
RECIPES: dict[str, dict[str, Any]] = {
    "transformer": {
        "epochs": 4,
        "batch_size": 16,
        "optimiser": "adamw",
        "learning_rate": 0.003,
        "weight_decay": 0.05,
        "schedule": {"kind": "cosine", "per": "step", "warmup_epochs": 1},
        "augmentation": NO_AUGMENTATION,
    },
    "convolutions": {
        "epochs": 3,
        "batch_size": 16,
        "schedule": {"kind": "cosine", "per": "step"},
        "averaging": {"kind": "ema", "decay": 0.9},
        "augmentation": NO_AUGMENTATION,
    },
}
FORWARD = {
    # 16 patches of 4x4 to 48 values; two blocks: q, k, v and their output, both products of
    # attention, a hidden layer of 96; 10 classes.
    "vit-mini": 2.0 * (16 * 16 * 48 + 2 * 16 * (4 * 48**2 + 2 * 16 * 48 + 2 * 48 * 96) + 480),
    # 3x3 convolutions on 16x16, 8x8 and 4x4 pixels; 10 classes.
    "group-net": 2.0 * (9 * (32 * 256 + 32 * 32 * 64 + 32 * 64 * 16) + 640),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    config = checkout.config
    config["plugins"] = [str(NETWORK_PLUGIN), str(ATTACK_PLUGIN)]
    config["recipes"] = RECIPES
    config["threat_models"] = {
        "small": {"norm": "linf", "epsilon": 0.05, "step_size": 0.025, "steps": 3}
    }
    config["attacks"].update(
        pgd10={"kind": "pgd", "title": "PGD-10", "steps": 10, "job": "training"},
        sq={"kind": "my-square", "title": "Square", "queries": 50, "samples": 60, "job": "own"},
        fgsm={"kind": "fgsm", "title": "FGSM", "job": "training"},
    )
    grid = {**GRID, "datasets": ["ink-digits"], "threat_model": "small"}
    config["items"]["tiny"].update(
        metrics=["clean", "pgd10", "sq", "fgsm"],
        grids=[
            {**grid, "architectures": ["vit-mini"], "recipe": "transformer"},
            {**grid, "architectures": ["group-net"], "recipe": "convolutions"},
        ],
    )
    return checkout


def test_they_learn_and_stand_in_a_table_with_an_attack_of_ones_own(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout.path)
    assert checkout.planned() == {"train_and_attack": 2, "attack": 2, "table": 1, "cells": 1}
    config = checkout.path / "config.yaml"
    assert "Operations are assumed to be those of ResNet-18" in show_plan(config)
    checkout.run()
    with (checkout.path / "results/tiny/tiny.csv").open(newline="") as file:
        rows = {row["architecture"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"ViT mini", "GroupNorm + SiLU"}
    for row in rows.values():
        assert row["dataset"] == "Ink digits"
        assert [row[f"{name}_n"] for name in ("clean", "pgd10", "sq", "fgsm")] == [
            "360", "360", "60", "360",
        ]  # fmt: skip
        clean, pgd, square, fgsm = (
            float(row[f"{name}_mean"]) for name in ("clean", "pgd10", "sq", "fgsm")
        )
        assert clean > LEAST_CLEAN > LEAST_ROBUST > 2 * CHANCE
        assert clean > fgsm >= pgd > LEAST_ROBUST
        assert square > LEAST_ROBUST
    assert "Nothing to be done" in checkout.run()


def test_their_operations_are_counted_then(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout.path)
    counted = {}
    for cell in checkout.cells:
        manifest = json.loads(cell.manifest.read_text())
        counted[manifest["spec"]["architecture"]] = manifest["operations"]["forward"]
        assert {one["path"] for one in manifest["extensions"]} == {str(NETWORK_PLUGIN)}
    assert counted == FORWARD
    checkout.grid["seeds"] = [0, 1]
    assert checkout.planned()["train_and_attack"] == 1
    assert "Operations are assumed" not in show_plan(checkout.path / "config.yaml")
