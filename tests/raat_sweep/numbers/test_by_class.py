"""Accuracies by class and confusions, against what is counted by hand; and the files of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import GRID
from raat_core.cells.folder import CellFolder
from raat_core.data.cache import Samples, Source, read_cache, write_cache
from raat_core.data.class_names import class_names
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.build import build
from raat_sweep.rules.description import describe, product_names
from record_files import write_manifest

CONFIG: dict[str, Any] = {
    "results": "results/x",
    "derived": {"worst": {"kind": "worst", "title": "Worst", "of": ["clean", "pgd10"]}},
    "items": {
        "by-class": {
            "kind": "classes",
            "title": "By class",
            "metrics": ["clean", "pgd10", "worst", "nrr"],
            "confusion": ["pgd10"],
            "grids": [{**GRID, "seeds": [0, 1]}],
        }
    },
}
LABELS = (0, 0, 1, 1, 1, 1)
PREDICTED: dict[str, list[Sequence[int]]] = {
    "clean": [(0, 0, 1, 1, 1, 1), (0, 0, 1, 1, 1, 7)],
    "pgd10": [(0, 1, 1, 1, 0, 0), (1, 0, 1, 2, 1, 1)],
    "aa": [(0, 1, 1, 1), (0, 0, 0, 1)],  # Of the first four images alone.
}
"""By attack and seed."""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    return Plan(read_config(CONFIG, "test"))


def write_all(item: dict[str, Any], data: str | None = None) -> None:
    cells = Path(item["results"]) / "cells"
    for row in item["rows"]:
        predicted = PREDICTED[row["metric"]][row["seed"]]
        write_manifest(cells, row["cell"])
        Record(
            index=np.arange(len(predicted), dtype=np.int32),
            label=np.array(LABELS[: len(predicted)], dtype=np.int32),
            prediction=np.array(predicted, dtype=np.int32),
            metadata={
                "attack": {"kind": "clean"},
                "checkpoint": "best",
                "weights_sha256": "best",
                "data_sha256": data,
            },
        ).write(CellFolder(cells / row["cell"]).record(row["record"]))


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_accuracies_and_confusions_are_those_of_the_records(plan: Plan) -> None:
    item = describe(plan, "by-class")
    assert {row["metric"] for row in item["rows"]} == {"clean", "pgd10", "aa"}
    write_all(item)
    build(item, with_gaps=False)
    first, second, third, *_ = lines = read("results/x/by-class.csv")
    assert len(lines) == 10, "digits has ten classes"
    assert (first["class"], first["name"], first["clean_n"], first["clean_seeds"]) == (
        *("0", "0", "2"),
        "2",
    )
    assert [float(second[f"clean_{what}"]) for what in ("mean", "std")] == pytest.approx(
        [87.5, np.std([100, 75], ddof=1)], abs=1e-4
    )
    assert float(first["pgd10_mean"]) == 50.0
    assert float(second["pgd10_mean"]) == pytest.approx((50 + 75) / 2)
    assert float(second["worst_mean"]) == pytest.approx((50 + 50) / 2), "per image and seed"
    assert float(first["nrr_mean"]) == pytest.approx((2 * 100 * 50 / 150 + 100) / 2, abs=1e-4)
    assert (second["nrr_n"], second["clean_n"]) == ("2", "4"), "AA has four images of all"
    assert third["clean_mean"] == "", "no image is of this class"
    pairs = {
        (line["true"], line["predicted"]): float(line["mean"])
        for line in read("results/x/by-class.confusion.csv")
    }
    assert pairs == {
        ("0", "0"): 50.0,
        ("0", "1"): 50.0,
        ("1", "0"): 25.0,
        ("1", "1"): 62.5,
        ("1", "2"): 12.5,
    }
    page = Path("results/x/by-class.md").read_text()
    assert "Clean, PGD-10 and Worst on 6; NRR on 4" in page
    assert "0: 50.00 ± 0.00" in page
    assert "0 → 1 50.00, 1 → 0 25.00, 1 → 2 12.50" in page
    contents = {
        name: (Path("results/x") / name).read_bytes() for name in product_names(plan, "by-class")
    }
    build(item)
    for name, content in contents.items():
        assert (Path("results/x") / name).read_bytes() == content, name


def test_without_a_record_the_files_are_made_and_say_why(plan: Plan) -> None:
    item = describe(plan, "by-class")
    build(item)
    assert all(
        math.isnan(float(line["clean_mean"] or "nan")) for line in read("results/x/by-class.csv")
    )
    assert "- not trained: digits" in Path("results/x/by-class.md").read_text()
    assert read("results/x/by-class.confusion.csv") == []


def test_classes_have_the_names_that_the_cache_of_these_images_has(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("zero", "one", *"23456789")
    images = Samples([0, 1], [np.zeros((1, 8, 8), dtype=np.uint8)] * 2)
    folder = tmp_path / "data/cache/digits"
    folder.mkdir(parents=True)
    path = write_cache(folder, "images.safetensors", Source(names, (1, 8, 8), images, images))
    known = read_cache(path).sha256
    assert class_names("digits", known, tmp_path / "data") == names
    assert class_names("digits", "of other images", tmp_path / "data") is None
    assert class_names("digits", None, tmp_path / "data") is None
    monkeypatch.setenv("RAAT_DATA", str(tmp_path / "data"))
    item = describe(plan, "by-class")
    write_all(item, known)
    build(item, with_gaps=False)
    assert [line["name"] for line in read("results/x/by-class.csv")[:3]] == ["zero", "one", "2"]
    assert "zero → one 50.00" in Path("results/x/by-class.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confusion": ["aa", "cw"], "metrics": ["clean", "aa"]}, "by-class.confusion = 'cw'"),
        ({"confusion": ["aa", "aa"]}, "the same value stands there twice"),
        ({"metrics": ["x"]}, "items.by-class.metrics = 'x'"),
        ({"metrics": []}, "items.by-class.metrics"),
        ({"grids": [{**GRID, "seeds": [0], "vary": {"lambda": [*range(1, 43)]}}]}, "42 rows; its"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    config = {**CONFIG, "methods": {"PGD-AT": "trades"}}
    config["items"] = {"by-class": {**CONFIG["items"]["by-class"], **changes}}
    with pytest.raises(UserError) as error:
        Plan(read_config(config, "test"))
    assert message in str(error.value)


def test_confusion_is_of_the_last_attack_unless_it_is_said() -> None:
    config = {**CONFIG, "items": {"c": {**CONFIG["items"]["by-class"], "confusion": []}}}
    assert describe(Plan(read_config(config, "test")), "c")["confusion"] == {"pgd10": "PGD-10"}


def test_many_classes_are_drawn_too(plan: Plan) -> None:
    item = describe(plan, "by-class")
    item["datasets"] = {"Digits": ["digits", 120]}
    write_all(item)
    build(item, with_gaps=False)
    assert len(pd.read_csv("results/x/by-class.csv")) == 120
    assert "| Class |" not in Path("results/x/by-class.md").read_text()
