"""Verdicts on claims, against what is known of the data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from raat_core.cells.folder import CellFolder
from raat_core.evaluation.records import Record
from raat_sweep.comparison.claims import judge, verdict
from raat_sweep.comparison.significance import PairedTest

CLAIM: dict[str, Any] = {
    "metric": "aa",
    "left": ["RAAT"],
    "right": ["PGD-AT"],
    "relation": "above",
    "margin": 0.0,
}
LEVEL = 0.05
SURE, UNSURE, NONE = PairedTest(0.01, 0.01), PairedTest(0.2, 0.2), PairedTest(math.nan, math.nan)


@pytest.mark.parametrize(
    ("difference", "test", "margin", "expected"),
    [
        (1.0, SURE, 0.0, "held"),
        (1.0, UNSURE, 0.0, "undecided (as claimed, not significant)"),
        (1.0, NONE, 0.0, "undecided (as claimed, no test)"),
        (0.0, PairedTest(1.0, 1.0), 0.0, "undecided (equal, not significant)"),
        (-1.0, SURE, 0.0, "not held"),
        (-1.0, UNSURE, 0.0, "undecided (the other way round, not significant)"),
        (-0.5, PairedTest(0.01, 0.99), 1.0, "held"),
        (-0.5, PairedTest(0.2, 0.8), 1.0, "undecided (within the margin, not significant)"),
        (-1.5, PairedTest(0.7, 0.3), 1.0, "undecided (beyond the margin, not significant)"),
        (-1.5, PairedTest(0.99, 0.01), 1.0, "not held"),
    ],
)
def test_verdicts(difference: float, test: PairedTest, margin: float, expected: str) -> None:
    assert verdict(difference, test, margin, LEVEL) == expected


def record(folder: Path, cell: str, correct: list[int], index: list[int] | None = None) -> float:
    """Write a record of a few images; returns its accuracy."""
    labels = np.zeros(len(correct), dtype=np.int32)
    places = np.array(index or range(len(correct)), dtype=np.int32)
    made = Record(places, labels, 1 - np.array(correct, dtype=np.int32), {})
    path = CellFolder(folder / cell).record("aa")
    path.parent.mkdir(parents=True, exist_ok=True)
    made.write(path)
    return made.accuracy


def measured(
    folder: Path, method: str, correct: list[list[int] | None], dataset: str = "D", **more: Any
) -> list[dict[str, Any]]:
    """A row per seed, with its record; None: the seed has no value."""
    rows = []
    for seed, outcomes in enumerate(correct):
        cell = f"{dataset}_{method}_s{seed}".replace(" ", "")
        accuracy = math.nan if outcomes is None else record(folder, cell, outcomes, **more)
        rows.append(
            {
                "dataset": dataset,
                "architecture": "A",
                "norm": "linf",
                "epsilon": "8/255",
                "method": method,
                "seed": seed,
                "metric": "aa",
                "cell": cell,
                "record": "aa",
                "accuracy": accuracy,
            }
        )
    return rows


def test_pairs_are_cells_of_one_seed_and_one_image(tmp_path: Path) -> None:
    left, right = [[1, 1, 1, 0], [1, 1, 0, 1]], [[1, 0, 0, 0], [1, 0, 1, 0]]
    rows = [*measured(tmp_path, "RAAT", [*left]), *measured(tmp_path, "PGD-AT", [*right])]
    (outcome,) = judge(CLAIM, pd.DataFrame(rows), tmp_path, "samples", LEVEL)
    by_image = 100 * (np.mean(left, axis=0) - np.mean(right, axis=0))
    assert outcome.difference == pytest.approx(37.5)
    assert (outcome.left_mean, outcome.right_mean, outcome.seeds) == (75.0, 37.5, 2)
    assert outcome.p_samples == pytest.approx(stats.ttest_1samp(by_image, 0).pvalue)
    assert outcome.p_seeds == pytest.approx(stats.ttest_1samp([50.0, 25.0], 0).pvalue)
    (over_seeds,) = judge(CLAIM, pd.DataFrame(rows), tmp_path, "seeds", LEVEL)
    p = outcome.p_seeds
    assert over_seeds.verdict == verdict(37.5, PairedTest(p, p), 0.0, LEVEL)
    assert (outcome.decided_by, over_seeds.decided_by) == ("images", "seeds")


def test_seeds_without_both_sides_are_left_out_of_means_too(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1], None, [1, 1]]),
        *measured(tmp_path, "PGD-AT", [[1, 0], [1, 1]]),
    ]
    (outcome,) = judge(CLAIM, pd.DataFrame(rows), tmp_path, "samples", LEVEL)
    assert (outcome.seeds, outcome.planned, outcome.difference) == (1, 2, 50.0)
    assert (outcome.left_mean, outcome.right_mean) == (100.0, 50.0)
    assert math.isnan(outcome.p_seeds)


def test_sides_without_a_common_seed_are_not_compared(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1], None]),
        *measured(tmp_path, "PGD-AT", [None, [1, 0]]),
    ]
    (outcome,) = judge(CLAIM, pd.DataFrame(rows), tmp_path, "samples", LEVEL)
    assert outcome.verdict == "not measured (no seed that both sides have)"


def test_the_best_of_several_needs_all_of_them(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1]]),
        *measured(tmp_path, "PGD-AT", [[1, 0]]),
        *measured(tmp_path, "MART", [None]),
    ]
    claim = {**CLAIM, "right": ["PGD-AT", "MART"]}
    (outcome,) = judge(claim, pd.DataFrame(rows), tmp_path, "samples", LEVEL)
    assert outcome.verdict == "not measured (MART missing)"


def test_different_images_are_not_paired(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1], [1, 1]]),
        *measured(tmp_path, "PGD-AT", [[1, 0], [0, 1]], index=[5, 9]),
    ]
    (outcome,) = judge(CLAIM, pd.DataFrame(rows), tmp_path, "samples", LEVEL)
    assert math.isnan(outcome.p_samples)
    assert (outcome.p_seeds, outcome.verdict) == (0.0, "held"), "the other test decides"


def test_of_several_rows_the_best_is_taken_in_each_place(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 0, 0, 0]]),
        *measured(tmp_path, "RAAT++", [[1, 1, 0, 0]]),
        *measured(tmp_path, "PGD-AT", [[1, 0, 0, 0]]),
        *measured(tmp_path, "RAAT", [[1, 1]], dataset="E"),
        *measured(tmp_path, "RAAT++", [[1, 0]], dataset="E"),
        *measured(tmp_path, "PGD-AT", [[1, 0]], dataset="E"),
        *measured(tmp_path, "PGD-AT", [[1, 0]], dataset="without the others"),
    ]
    claim = {**CLAIM, "left": ["RAAT", "RAAT++"]}
    first, second = judge(claim, pd.DataFrame(rows), tmp_path, "samples", LEVEL)
    assert (first.place["dataset"], first.left, first.left_mean) == ("D", "RAAT++", 50.0)
    assert (second.place["dataset"], second.left, second.left_mean) == ("E", "RAAT", 100.0)


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    rows = [*measured(tmp_path, "RAAT", [None]), *measured(tmp_path, "PGD-AT", [[1, 0]])]
    (outcome,) = judge(CLAIM, pd.DataFrame(rows), tmp_path, "samples", LEVEL)
    assert outcome.verdict == "not measured (RAAT missing)"
    assert outcome.seeds == 0


def test_a_derived_metric_is_tested_over_seeds_alone(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1], [1, 0]]),
        *measured(tmp_path, "PGD-AT", [[1, 0], [0, 0]]),
    ]
    frame = pd.DataFrame(rows).assign(metric="nrr", record="")
    (outcome,) = judge({**CLAIM, "metric": "nrr"}, frame, tmp_path, "samples", LEVEL)
    assert math.isnan(outcome.p_samples)
    assert (outcome.p_seeds, outcome.verdict, outcome.decided_by) == (0.0, "held", "seeds")
