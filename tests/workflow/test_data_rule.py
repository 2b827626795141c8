"""Real Snakemake runs: data that is prepared before cells need it, and image folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkout import Checkout

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_a_downloaded_data_set_is_prepared_once_before_its_cells(checkout: Checkout) -> None:
    assert "data" not in checkout.planned()
    checkout.grid.update(datasets=["digits", "cifar10"], seeds=[0, 1])
    assert checkout.planned() == {"data": 1, "train_and_attack": 4, "table": 1, "cells": 1}
    (checkout.path / "data").mkdir()
    (checkout.path / "data/cifar10.json").write_text("{}")
    assert checkout.planned() == {"train_and_attack": 4, "table": 1, "cells": 1}


def test_an_image_folder_from_config_to_table(checkout: Checkout, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for kind in ("ant", "zebra"):
            folder = tmp_path / "images" / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    checkout.config["datasets"] = {"mine": {"path": str(tmp_path / "images"), "image_size": 8}}
    checkout.config["attacks"]["pgd10"]["samples"] = None
    checkout.grid["datasets"] = ["mine"]
    checkout.run()
    assert checkout.table()["PGD-AT"]["dataset"] == "mine"
    assert checkout.table()["PGD-AT"]["clean_n"] == "20"
    assert "Nothing to be done" in checkout.run()
    (tmp_path / "images/train/ant/0.png").unlink()
    assert checkout.planned() == {"train_and_attack": 1, "table": 1, "cells": 1}
