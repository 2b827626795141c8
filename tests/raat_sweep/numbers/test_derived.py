"""What is derived from several attacks on one cell."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from raat_sweep.numbers.derived import combine, derive

DERIVED = {
    "mean": {"kind": "mean", "of": ["clean", "aa"]},
    "nrr": {"kind": "harmonic-mean", "of": ["clean", "aa"]},
}


def row(metric: str, accuracy: float, samples: int = 100, cell: str = "a") -> dict[str, object]:
    gap = "not attacked" if math.isnan(accuracy) else ""
    return {
        "method": "RAAT",
        "seed": 0,
        "cell": cell,
        "metric": metric,
        "record": "r",
        "accuracy": accuracy,
        "samples": samples,
        "gap": gap,
        "log": "a.log" if gap else "",
    }


def test_a_mean_and_an_nrr_are_of_one_cell() -> None:
    rows = [row("clean", 80.0), row("aa", 40.0, 50), row("clean", 60.0, cell="b")]
    derived = derive(pd.DataFrame(rows), DERIVED).iloc[3:]
    assert derived["metric"].tolist() == ["mean", "nrr"], "cell b has no AA"
    assert derived["accuracy"].tolist() == [60.0, pytest.approx(2 * 80 * 40 / 120)]
    assert derived["samples"].tolist() == [50, 50]
    assert set(derived["cell"]) == {"a"}


def test_what_misses_a_part_is_a_gap_with_its_reason() -> None:
    derived = derive(pd.DataFrame([row("clean", 80.0), row("aa", math.nan, 0)]), DERIVED)
    (mean, _) = derived.iloc[2:].to_dict("records")
    assert math.isnan(mean["accuracy"])
    assert (mean["gap"], mean["log"], mean["samples"]) == ("not attacked", "a.log", 0)


def test_the_nrr_of_a_model_without_robustness_is_zero() -> None:
    assert combine("harmonic-mean", [80.0, 0.0]) == 0.0
    assert combine("harmonic-mean", [0.0, 0.0]) == 0.0
