"""A real Snakemake run of a network and a data set that come from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checkout import Checkout
from plugin_files import write_extensions
from raat_sweep.commands.plan import show_plan

pytestmark = pytest.mark.slow


def test_a_folder_of_extensions_ends_in_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = Checkout(tmp_path / "checkout")
    monkeypatch.chdir(checkout.path)
    plugin = write_extensions(checkout.path / "mine", "net-w", "digits-w")
    checkout.config["plugins"] = ["mine"]
    checkout.config["data"] = "data"
    checkout.grid.update(datasets=["digits-w"], architectures=["net-w"], seeds=[0, 1])
    config = checkout.path / "config.yaml"
    assert checkout.planned() == {"data": 1, "train_and_attack": 2, "table": 1, "cells": 1}
    assert "Operations are assumed to be those of ResNet-18" in show_plan(config)
    checkout.run()
    row = checkout.table()["PGD-AT"]
    assert (row["dataset"], row["architecture"]) == ("Few digits", "Tiny net")
    assert row["clean_n"] == "60"
    for cell in checkout.cells:
        manifest = json.loads(cell.manifest.read_text())
        assert {one["path"] for one in manifest["extensions"]} == {str(plugin)}
        assert manifest["operations"]["forward"] > 0
    assert "Nothing to be done" in checkout.run()

    # An edit without another version: the finished cell stays, and the table says so.
    source = plugin / "_network.py"
    source.write_text(source.read_text().replace(".relu()", ".tanh()"))
    checkout.grid["seeds"] = [0, 1, 2]
    said = checkout.snakemake("--dry-run").stderr
    assert "note: finished cells made by other code than architecture 'net-w'" in said
    assert checkout.planned()["train_and_attack"] == 1
    assert "Operations are assumed" not in show_plan(config)
    checkout.run()
    markdown = (checkout.path / "results/tiny/tiny.md").read_text()
    assert "Made by different code under one version" in markdown
    assert "architecture 'net-w' version 1: sha256" in markdown
    assert "(seed 2)" in markdown
