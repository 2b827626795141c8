"""Distances of a minimum-norm attack, and corruptions, from a config to tables and figures."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import GRID
from corrupted_archives import write_archive
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import EvaluationList, evaluation_name
from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.files.checksums import write_sealed_json
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.build import build
from raat_sweep.rules.description import describe

N = 8
DISTANCES = {
    0: np.array([0, 1, 2, 4, 8, 16, 32, np.inf], dtype=np.float32) / 255,
    1: np.array([0, 0, 1, 3, 6, 9, 12, 20], dtype=np.float32) / 255,
}
CONFIG: dict[str, Any] = {
    "results": "results",
    "recipes": {"default": {"epochs": 10, "decay_epochs": []}},
    "attacks": {
        "clean": {"kind": "clean", "title": "Clean"},
        "fmn": {"kind": "fmn", "title": "FMN"},
        "mca": {"kind": "corruptions", "title": "mCA", "source": "Digits-C", "names": ["fog"]},
    },
    "derived": {
        "median": {"kind": "median-distance", "of": ["fmn"], "title": "median ‖δ‖ (1/255)"},
        "both": {"kind": "mean", "of": ["clean", "mca"], "title": "Mean"},
    },
    "items": {
        "t": {
            "kind": "table",
            "title": "T",
            "metrics": ["clean", "fmn", "median", "mca", "both"],
            "grids": [{**GRID, "seeds": [0, 1]}],
        },
        "f": {
            "kind": "figure",
            "title": "F",
            "panels": {
                "a": {
                    "title": "curve",
                    "x": "distance",
                    "x_label": "ε (1/255)",
                    "metrics": ["fmn"],
                    "grids": [{**GRID, "seeds": [0, 1]}],
                },
                "b": {
                    "title": "median",
                    "x": "method",
                    "x_label": "method",
                    "metrics": ["median"],
                    "grids": [{**GRID, "seeds": [0, 1]}],
                },
            },
        },
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    archive = tmp_path / "data" / "Digits-C"
    archive.mkdir(parents=True)
    for name in ("labels", "fog"):
        (archive / f"{name}.npy").write_bytes(b"")
    yield tmp_path
    os.chdir(before)


def config(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(CONFIG)), **changes}


def write_records(plan: Plan) -> None:
    """As attacks on eight images would leave them."""
    cells = Path(plan.config.results) / "cells"
    for (name, _), chosen in plan.jobs.lists.items():
        cell, where = plan.cells[name], cells / name
        best = {"epoch": 1, "accuracy": 50.0, "chosen_by": "PGD-10 accuracy", "split": "test"}
        manifest = {
            "cell": name,
            "digest": "0",
            "finished": "now",
            "train_seconds": 1.0,
            "best": best,
            "weights_sha256": {"best": "w", "last": "w"},
        }
        write_sealed_json(CellFolder(where).manifest, manifest)
        write(cell, chosen, where)


def write(cell: Cell, chosen: EvaluationList, where: Path) -> None:
    label = np.zeros(N, dtype=np.int32)
    distance = DISTANCES[cell.seed]
    for attack in chosen.attacks:
        right, details = np.ones(N, dtype=bool), {}
        if attack.kind == "fmn":
            right, details = distance > 8 / 255, {"distance": distance}
        elif attack.kind == "corruptions":
            details = {"share_right": np.linspace(0, 1, N, dtype=np.float32)}
        metadata = {
            "weights_sha256": "w",
            "checkpoint": "best",
            "attack": attack.to_json(),
            "extensions": {},
        }
        prediction = np.where(right, label, 1).astype(np.int32)
        index = np.arange(N, dtype=np.int32)
        record = Record(index, label, prediction, metadata, label, details)
        record.write(CellFolder(where).record(evaluation_name(attack, "best")))


def test_the_median_and_the_mean_over_corruptions_stand_in_a_table(folder: Path) -> None:
    plan = Plan(read_config(config(), "test"))
    write_records(plan)
    build(describe(plan, "t"))
    (row,) = pd.read_csv("results/t.csv").to_dict("records")
    assert row["median_mean"] == pytest.approx((6 + 4.5) / 2, abs=1e-3)
    assert row["median_std"] == pytest.approx(1.5 / math.sqrt(2), abs=1e-3)
    assert row["fmn_mean"] == pytest.approx(37.5)
    assert row["mca_mean"] == pytest.approx(50.0)
    assert row["both_mean"] == pytest.approx(75.0)
    text = Path("results/t.md").read_text()
    assert "in 255ths of the pixel range" in text
    assert "mCA is the mean over fog at severity 1, 2, 3, 4, 5, of Digits-C" in text


def test_a_curve_is_robust_accuracy_at_every_distance(folder: Path) -> None:
    plan = Plan(read_config(config(), "test"))
    write_records(plan)
    build(describe(plan, "f"))
    assert Path("results/f.png").stat().st_size > 0
    points = pd.read_csv("results/f.csv")
    curve = points[points["panel"] == "a"].astype({"x": float}).sort_values("x")
    assert curve["x"].iloc[0] == 0
    assert curve["mean"].iloc[0] == pytest.approx((100 * 7 / 8 + 100 * 6 / 8) / 2)
    assert (curve["mean"].diff().dropna() <= 0).all()
    assert curve["mean"].nunique() > 8
    at = curve[curve["x"] <= 8].iloc[-1]
    expected = [100 * float((DISTANCES[s] * 255 > at["x"]).mean()) for s in (0, 1)]
    assert at["mean"] == pytest.approx(np.mean(expected))
    assert (curve["n_seeds"] == 2).all()
    assert points[points["panel"] == "b"]["mean"].tolist() == [pytest.approx(5.25, abs=1e-3)]


def test_a_seed_without_its_record_is_missing_everywhere_on_the_curve(folder: Path) -> None:
    plan = Plan(read_config(config(), "test"))
    write_records(plan)
    lost = [name for name, cell in plan.cells.items() if cell.seed == 1]
    (path,) = (folder / "results" / "cells" / lost[0]).glob("**/*fmn*.safetensors")
    path.unlink()
    build(describe(plan, "f"))
    points = pd.read_csv("results/f.csv")
    curve = points[points["panel"] == "a"]
    assert (curve["n_seeds"] == 1).all()
    assert (curve["n_seeds_planned"] == 2).all()


def test_a_median_that_is_infinite_is_a_gap(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISTANCES, 0, np.full(N, np.inf, dtype=np.float32))
    plan = Plan(read_config(config(), "test"))
    write_records(plan)
    build(describe(plan, "t"))
    cells = pd.read_csv("results/t.cells.csv")
    gaps = cells[(cells["metric"] == "median") & (cells["seed"] == 0)]["gap"].tolist()
    assert gaps == ["of more than half of the images no misclassified one was found"]


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (
            ("derived", "median", "of"),
            ["clean"],
            "derived.median.of = 'clean': finds no distances; these do: fmn",
        ),
        (("derived", "median", "of"), ["fmn", "clean"], "must name one attack"),
        (
            ("items", "f", "panels", "a", "metrics"),
            ["clean"],
            "items.f.panels.a.metrics = 'clean': finds no distances; these do: fmn",
        ),
        (
            ("items", "f", "panels", "a", "metrics"),
            ["median"],
            "items.f.panels.a.metrics = 'median'",
        ),
    ],
)
def test_what_has_no_distances_is_refused(
    folder: Path, place: tuple[str, ...], value: list[str], told: str
) -> None:
    data = config()
    *keys, last = place
    inner = data
    for key in keys:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(UserError) as error:
        read_config(data, "test")
    assert told in str(error.value)


def test_claims_are_about_accuracies(folder: Path) -> None:
    claim = {"claim": "c", "item": "t", "metric": "median", "left": ["A"], "right": ["B"]}
    data = config()
    data["items"]["c"] = {"kind": "comparison", "title": "C", "claims": [claim]}
    with pytest.raises(UserError, match=r"claims\.0\.metric = 'median': must be an accuracy"):
        read_config(data, "test")


def test_an_archive_that_is_missing_is_refused_when_it_is_planned(folder: Path) -> None:
    (folder / "data" / "Digits-C" / "fog.npy").unlink()
    with pytest.raises(UserError, match=r"attacks\.mca: .*Digits-C has no fog\.npy.*items\.t"):
        Plan(read_config(config(), "test"))


def test_from_a_config_to_a_table_on_digits(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    names = ["fog", "snow"]
    write_archive(folder / "data" / "Digits-C", api.load_data_set("digits").test, names)
    data = config()
    data["recipes"]["default"].update(
        {"epochs": 2, "batch_size": 16, "augmentation": {"crop_padding": 1, "flip": False}}
    )
    data["threat_models"] = {
        "linf": {"norm": "linf", "epsilon": 0.15, "step_size": 0.05, "steps": 2}
    }
    data["selection"] = {"by": "last"}
    data["attacks"]["mca"]["names"] = names
    data["attacks"]["fmn"].update(steps=20, samples=40)
    data["items"] = {"t": data["items"]["t"]}
    data["items"]["t"]["grids"] = [GRID]
    plan = Plan(read_config(data, "test"))
    for (name, _), chosen in plan.jobs.lists.items():
        cell = folder / "results" / "cells" / name
        api.train(plan.cells[name], cell, device="cpu")
        api.attack(cell, chosen.attacks, device="cpu", data_root=plan.data)
    build(describe(plan, "t"), with_gaps=False)
    (row,) = pd.read_csv("results/t.csv").to_dict("records")
    assert 10 < row["mca_mean"] < row["clean_mean"]
    assert row["both_mean"] == pytest.approx((row["mca_mean"] + row["clean_mean"]) / 2, abs=1e-3)
    assert 0 < row["median_mean"] < 255
    assert row["median_n"] == 40
