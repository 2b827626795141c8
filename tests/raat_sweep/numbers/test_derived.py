"""What is derived from several attacks on one cell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raat_sweep.numbers.combining import accuracy_of, combine, scores_of
from raat_sweep.numbers.derived import NO_COMMON_IMAGES, derive, derived_means
from raat_sweep.numbers.outcomes import Records, together
from record_files import write_record

DERIVED = {
    "mean": {"kind": "mean", "of": ["clean", "aa"]},
    "nrr": {"kind": "harmonic-mean", "of": ["clean", "aa"]},
    "worst": {"kind": "worst", "of": ["clean", "aa"]},
}


def row(metric: str, accuracy: float, samples: int = 100, cell: str = "a") -> dict[str, Any]:
    gap = "not attacked" if math.isnan(accuracy) else ""
    return {
        "method": "RAAT",
        "seed": 0,
        "cell": cell,
        "metric": metric,
        "record": metric,
        "accuracy": accuracy,
        "samples": samples,
        "gap": gap,
        "log": "a.log" if gap else "",
    }


def attacked(cells: Path, metric: str, correct: list[int], index: list[int]) -> dict[str, Any]:
    """A record, and the row that is measured of it."""
    return row(metric, write_record(cells, "a", metric, correct, index).accuracy, len(correct))


def derived_of(rows: list[dict[str, Any]], cells: Path) -> dict[str, dict[str, Any]]:
    made = derive(pd.DataFrame(rows), DERIVED, Records(cells)).iloc[len(rows) :]
    return {str(row["metric"]): dict(row) for row in made.to_dict("records")}  # type: ignore[arg-type]


def test_an_nrr_is_of_the_images_that_both_attacks_have(tmp_path: Path) -> None:
    """Clean 80 % of 360; AA 40 % of 20 of them, of which 15 are right when clean."""
    attacked_images = list(range(0, 360, 18))
    clean = [0] * 360
    right = [*attacked_images[:15], *[i for i in range(360) if i % 18][: 288 - 15]]
    for image in right:
        clean[image] = 1
    rows = [
        attacked(tmp_path, "clean", clean, list(range(360))),
        attacked(tmp_path, "aa", [1] * 8 + [0] * 12, attacked_images),
    ]
    assert [each["accuracy"] for each in rows] == [80.0, 40.0]
    derived = derived_of(rows, tmp_path)
    assert derived["nrr"]["accuracy"] == pytest.approx(2 * 75 * 40 / 115)
    assert derived["mean"]["accuracy"] == pytest.approx((75 + 40) / 2)
    assert derived["worst"]["accuracy"] == pytest.approx(40)
    assert {each["samples"] for each in derived.values()} == {20}
    assert derived["nrr"]["record"] == "clean aa"


def test_a_worst_case_is_per_image(tmp_path: Path) -> None:
    rows = [
        attacked(tmp_path, "clean", [1, 1, 1, 0], [3, 5, 7, 9]),
        attacked(tmp_path, "aa", [0, 1, 1, 1], [9, 7, 5, 3]),
    ]
    assert derived_of(rows, tmp_path)["worst"]["accuracy"] == 75.0, "in whatever order they stand"
    outcomes = together([Records(tmp_path).outcomes("a", name) for name in ("clean", "aa")])
    assert outcomes.scores("worst").tolist() == [100.0, 100.0, 100.0, 0.0]


def test_records_without_a_common_image_are_a_gap_that_says_so(tmp_path: Path) -> None:
    rows = [
        attacked(tmp_path, "clean", [1, 1], [0, 1]),
        attacked(tmp_path, "aa", [1, 1], [2, 3]),
    ]
    derived = derived_of(rows, tmp_path)["nrr"]
    assert math.isnan(derived["accuracy"])
    assert (derived["gap"], derived["samples"]) == (NO_COMMON_IMAGES, 0)


def test_a_derived_number_is_of_one_cell(tmp_path: Path) -> None:
    rows = [
        attacked(tmp_path, "clean", [1, 1], [0, 1]),
        attacked(tmp_path, "aa", [1, 0], [0, 1]),
        row("clean", 60.0, cell="b"),
    ]
    derived = derived_of(rows, tmp_path)
    assert list(derived) == ["mean", "nrr", "worst"]
    assert {each["cell"] for each in derived.values()} == {"a"}, "cell b has no AA"


def test_what_misses_a_part_is_a_gap_with_its_reason(tmp_path: Path) -> None:
    mean = derived_of([row("clean", 80.0), row("aa", math.nan, 0)], tmp_path)["mean"]
    assert math.isnan(mean["accuracy"])
    assert (mean["gap"], mean["log"], mean["samples"]) == ("not attacked", "a.log", 0)


def test_the_nrr_of_a_model_without_robustness_is_zero() -> None:
    assert combine("harmonic-mean", [80.0, 0.0]) == 0.0
    assert combine("harmonic-mean", [0.0, 0.0]) == 0.0


def test_scores_have_the_accuracy_as_their_mean_where_there_are_such() -> None:
    correct = np.array([[True, True, False], [True, False, False]])
    for kind in ("mean", "worst"):
        assert scores_of(kind, correct).mean() == pytest.approx(accuracy_of(kind, correct))
    assert not len(scores_of("harmonic-mean", correct))
    assert math.isnan(accuracy_of("worst", correct[:, :0]))


def test_a_worst_case_does_not_follow_from_published_means() -> None:
    assert derived_means({"clean": 80.0, "aa": 40.0}, DERIVED) == {
        "mean": 60.0,
        "nrr": pytest.approx(2 * 80 * 40 / 120),
    }
