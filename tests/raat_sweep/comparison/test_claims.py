"""Verdicts on claims, against what is known of the data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from raat_sweep.comparison.claims import Outcome, judge, verdict
from raat_sweep.comparison.significance import PairedTest
from raat_sweep.numbers.outcomes import Records
from record_files import write_record

CLAIM: dict[str, Any] = {
    "metric": "aa",
    "left": ["RAAT"],
    "right": ["PGD-AT"],
    "kind": "mean",
    "left_in": "",
    "right_in": "",
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


def judged(
    claim: dict[str, Any], rows: list[dict[str, Any]], cells: Path, test: str = "samples"
) -> list[Outcome]:
    """The outcomes of a claim, whose sides are rows by method."""
    frame = pd.DataFrame(rows)
    left, right = (frame[frame["method"].isin(claim[side])] for side in ("left", "right"))
    return judge(claim, (left, right), Records(cells), test, LEVEL)


def measured(
    folder: Path, method: str, correct: list[list[int] | None], dataset: str = "D", **more: Any
) -> list[dict[str, Any]]:
    """A row per seed, with its record; None: the seed has no value."""
    rows = []
    for seed, outcomes in enumerate(correct):
        cell = f"{dataset}_{method}_s{seed}".replace(" ", "")
        made = None if outcomes is None else write_record(folder, cell, "aa", outcomes, **more)
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
                "accuracy": math.nan if made is None else made.accuracy,
            }
        )
    return rows


def test_pairs_are_cells_of_one_seed_and_one_image(tmp_path: Path) -> None:
    left, right = [[1, 1, 1, 0], [1, 1, 0, 1]], [[1, 0, 0, 0], [1, 0, 1, 0]]
    rows = [*measured(tmp_path, "RAAT", [*left]), *measured(tmp_path, "PGD-AT", [*right])]
    (outcome,) = judged(CLAIM, rows, tmp_path)
    by_image = 100 * (np.mean(left, axis=0) - np.mean(right, axis=0))
    assert outcome.difference == pytest.approx(37.5)
    assert (outcome.left_mean, outcome.right_mean, outcome.seeds) == (75.0, 37.5, 2)
    assert outcome.p_samples == pytest.approx(stats.ttest_1samp(by_image, 0).pvalue)
    assert outcome.p_seeds == pytest.approx(stats.ttest_1samp([50.0, 25.0], 0).pvalue)
    (over_seeds,) = judged(CLAIM, rows, tmp_path, "seeds")
    p = outcome.p_seeds
    assert over_seeds.verdict == verdict(37.5, PairedTest(p, p), 0.0, LEVEL)
    assert (outcome.decided_by, over_seeds.decided_by) == ("images", "seeds")


def test_seeds_without_both_sides_are_left_out_of_means_too(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1], None, [1, 1]]),
        *measured(tmp_path, "PGD-AT", [[1, 0], [1, 1]]),
    ]
    (outcome,) = judged(CLAIM, rows, tmp_path)
    assert (outcome.seeds, outcome.planned, outcome.difference) == (1, 2, 50.0)
    assert (outcome.left_mean, outcome.right_mean) == (100.0, 50.0)
    assert math.isnan(outcome.p_seeds)


def test_sides_without_a_common_seed_are_not_compared(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1], None]),
        *measured(tmp_path, "PGD-AT", [None, [1, 0]]),
    ]
    (outcome,) = judged(CLAIM, rows, tmp_path)
    assert outcome.verdict == "not measured (no seed that both sides have)"


def test_the_best_of_several_needs_all_of_them(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1]]),
        *measured(tmp_path, "PGD-AT", [[1, 0]]),
        *measured(tmp_path, "MART", [None]),
    ]
    claim = {**CLAIM, "right": ["PGD-AT", "MART"]}
    (outcome,) = judged(claim, rows, tmp_path)
    assert outcome.verdict == "not measured (MART missing)"


def test_numbers_are_of_the_images_that_both_sides_have(tmp_path: Path) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1, 0, 0], [1, 1, 0, 0]], index=[1, 3, 5, 7]),
        *measured(tmp_path, "PGD-AT", [[1, 0, 1], [0, 1, 1]], index=[7, 3, 5]),
    ]
    (outcome,) = judged(CLAIM, rows, tmp_path)
    assert outcome.images == 3
    assert outcome.left_mean == pytest.approx(100 / 3)
    assert outcome.right_mean == pytest.approx(100 * 2 / 3)
    by_image = [100 * (1 - 0.5), 100 * (0 - 1), 100 * (0 - 0.5)]
    assert outcome.difference == pytest.approx(sum(by_image) / 3)
    assert outcome.p_samples == pytest.approx(stats.ttest_1samp(by_image, 0).pvalue)


@pytest.mark.parametrize("more", [{"index": [5, 9]}, {"data_sha256": "other"}])
def test_sides_without_a_common_image_are_not_compared(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    rows = [
        *measured(tmp_path, "RAAT", [[1, 1], [1, 1]], data_sha256="d"),
        *measured(tmp_path, "PGD-AT", [[1, 0], [0, 1]], **{"data_sha256": "d", **more}),
    ]
    (outcome,) = judged(CLAIM, rows, tmp_path)
    assert outcome.verdict == "not measured (no test image that both sides have)"
    assert (outcome.images, outcome.seeds) == (0, 2)
    assert math.isnan(outcome.difference)


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
    first, second = judged(claim, rows, tmp_path)
    assert (first.place["dataset"], first.left, first.left_mean) == ("D", "RAAT++", 50.0)
    assert (second.place["dataset"], second.left, second.left_mean) == ("E", "RAAT", 100.0)


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    rows = [*measured(tmp_path, "RAAT", [None]), *measured(tmp_path, "PGD-AT", [[1, 0]])]
    (outcome,) = judged(CLAIM, rows, tmp_path)
    assert outcome.verdict == "not measured (RAAT missing)"
    assert outcome.seeds == 0


def derived(folder: Path, outcomes: dict[str, list[list[int]]]) -> list[dict[str, Any]]:
    """Rows of a number that is made of clean records (of which all images are right) and AA's."""
    rows = []
    for method, correct in outcomes.items():
        for row in measured(folder, method, [*correct]):
            write_record(folder, row["cell"], "clean", [1, 1, 1], [0, 1, 2])
            rows.append({**row, "metric": "nrr", "record": "clean aa"})
    return rows


def test_an_nrr_is_tested_over_seeds_alone(tmp_path: Path) -> None:
    rows = derived(tmp_path, {"RAAT": [[1, 1], [1, 0]], "PGD-AT": [[1, 0], [0, 0]]})
    claim = {**CLAIM, "metric": "nrr", "kind": "harmonic-mean"}
    (outcome,) = judged(claim, rows, tmp_path)
    assert math.isnan(outcome.p_samples)
    assert (outcome.images, outcome.decided_by) == (2, "seeds")
    nrr = 2 * 100 * 50 / 150
    assert outcome.left_mean == pytest.approx((100 + nrr) / 2)
    assert outcome.difference == pytest.approx(((100 - nrr) + (nrr - 0)) / 2)


def test_a_worst_case_is_tested_over_images_too(tmp_path: Path) -> None:
    rows = derived(tmp_path, {"RAAT": [[1, 1, 0]], "PGD-AT": [[1, 0, 0]]})
    (outcome,) = judged({**CLAIM, "metric": "nrr", "kind": "worst"}, rows, tmp_path)
    assert outcome.p_samples == pytest.approx(stats.ttest_1samp([0, 100, 0], 0).pvalue)
    assert outcome.decided_by == "images"


def test_rows_of_two_items_are_named_with_theirs(tmp_path: Path) -> None:
    left = measured(tmp_path, "RAAT", [[1, 1], [1, 0]])
    right = measured(tmp_path / "last", "RAAT", [[0, 1], [1, 0]])
    for row in right:
        write_record(tmp_path, row["cell"], "last", [0, 1])
        row["record"] = "last"
    claim = {**CLAIM, "left_in": "best", "right_in": "last"}
    sides = pd.DataFrame(left), pd.DataFrame(right)
    (outcome,) = judge(claim, sides, Records(tmp_path), "samples", LEVEL)
    assert (outcome.left, outcome.right) == ("RAAT in best", "RAAT in last")
    assert (outcome.seeds, outcome.images, outcome.difference) == (2, 2, 25.0)
    right[0]["accuracy"] = right[1]["accuracy"] = math.nan
    sides = pd.DataFrame(left), pd.DataFrame(right)
    (outcome,) = judge(claim, sides, Records(tmp_path), "samples", LEVEL)
    assert outcome.verdict == "not measured (RAAT in last missing)"
