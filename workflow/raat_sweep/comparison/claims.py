"""Claims and their verdicts, by tests paired over seeds and paired over test images.

Cells of one seed are a pair: they saw the same images in the same order from the same start. The
test over images says whether these trained models differ on images like these; the one over seeds
whether another training would show it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raat_core.cells.folder import CellFolder
from raat_core.evaluation.records import Record
from raat_sweep.comparison.significance import PairedTest, Values
from raat_sweep.numbers.accuracies import PLACE


@dataclass(frozen=True)
class Outcome:
    """What a claim came to for one data set, architecture and ball; accuracies in percent."""

    place: dict[str, str]
    left: str
    right: str
    left_mean: float
    right_mean: float
    """Means over the seeds that both sides have."""
    seeds: int
    """How many these are."""
    planned: int
    """How many the config asks for on both sides."""
    difference: float
    """Left minus right, in percentage points."""
    p_seeds: float
    p_samples: float
    """Two-sided, or of the test for equality within the margin; NaN where there is no test."""
    decided_by: str
    """`images`, `seeds`, or nothing."""
    verdict: str


def judge_claims(measurements: pd.DataFrame, item: Mapping[str, Any], cells: Path) -> pd.DataFrame:
    """One row per claim, data set, architecture and ball."""
    rows = []
    for index, claim in enumerate(item["claims"]):
        of_claim = measurements[measurements["part"] == str(index)]
        for outcome in judge(claim, of_claim, cells, item["test"], item["level"]):
            rows.append(_claim_row(claim, outcome))
    return pd.DataFrame(rows, columns=_CLAIM_COLUMNS)


_CLAIM_COLUMNS = [
    "claim", "source", *PLACE, "metric", "left", "right", "margin", "left_mean", "right_mean",
    "difference", "n_seeds", "n_seeds_planned", "p_seeds", "p_samples", "decided_by", "verdict",
]  # fmt: skip


def _claim_row(claim: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    return {
        **{key: claim[key] for key in ("claim", "source", "metric")},
        **outcome.place,
        "left": outcome.left,
        "right": outcome.right,
        "margin": claim["margin"] or math.nan,
        "left_mean": outcome.left_mean,
        "right_mean": outcome.right_mean,
        "difference": outcome.difference,
        "n_seeds": outcome.seeds,
        "n_seeds_planned": outcome.planned,
        "p_seeds": outcome.p_seeds,
        "p_samples": outcome.p_samples,
        "decided_by": outcome.decided_by,
        "verdict": outcome.verdict,
    }


def judge(
    claim: Mapping[str, Any], measurements: pd.DataFrame, cells: Path, test: str, level: float
) -> list[Outcome]:
    """A claim's outcome wherever both of its sides are asked for.

    Args:
        claim: `metric`, `left`, `right` (labels), `relation`, `margin`.
        measurements: of the claim's cells, with the derived metrics.
        cells: the folder of all cells, whose records hold the outcome of every image.
        test: "samples" or "seeds": whose p decides, where there is one.
        level: of significance.
    """
    chosen = measurements[measurements["metric"] == claim["metric"]]
    outcomes = []
    for place, group in chosen.groupby(PLACE, sort=False):
        sides = [group[group["method"].isin(claim[side])] for side in ("left", "right")]
        if all(len(side) for side in sides):
            where = dict(zip(PLACE, map(str, place), strict=True))
            outcomes.append(_outcome(where, sides[0], sides[1], claim, cells, test, level))
    return outcomes


def _outcome(
    place: dict[str, str],
    left: pd.DataFrame,
    right: pd.DataFrame,
    claim: Mapping[str, Any],
    cells: Path,
    test: str,
    level: float,
) -> Outcome:
    left, lost_left = _best_row(left)
    right, lost_right = _best_row(right)
    lost = [*lost_left, *lost_right]
    asked = left.merge(right, on="seed", suffixes=("_left", "_right"))
    pairs = asked[asked["accuracy_left"].notna() & asked["accuracy_right"].notna()]
    margin = float(claim["margin"])
    by_seed = (pairs["accuracy_left"] - pairs["accuracy_right"]).to_numpy(dtype=float)
    over_seeds = PairedTest.of(by_seed, margin)
    over_images = PairedTest.of(_by_image(pairs, cells), margin)
    difference = float(by_seed.mean()) if len(by_seed) else math.nan
    decided_by, decisive = _deciding(over_seeds, over_images, test)
    if lost:
        result = f"not measured ({', '.join(lost)} missing)"
    elif pairs.empty:
        result = "not measured (no seed that both sides have)"
    else:
        result = verdict(difference, decisive, margin, level)
    return Outcome(
        place=place,
        left=str(left["method"].iloc[0]),
        right=str(right["method"].iloc[0]),
        left_mean=float(pairs["accuracy_left"].mean()),
        right_mean=float(pairs["accuracy_right"].mean()),
        seeds=len(pairs),
        planned=len(asked),
        difference=difference,
        p_seeds=over_seeds.p,
        p_samples=over_images.p,
        decided_by=decided_by,
        verdict=result,
    )


def _best_row(side: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Cells of the row with the highest mean, or of the first; and names of rows without a number.

    While there are such rows, which one is best is not known.
    """
    means = side.groupby("method", sort=False)["accuracy"].mean()
    best = means.idxmax() if means.notna().any() else means.index[0]
    return side[side["method"] == best], [str(method) for method in means[means.isna()].index]


def _deciding(over_seeds: PairedTest, over_images: PairedTest, test: str) -> tuple[str, PairedTest]:
    """The test that was chosen, or the other one where that cannot be made."""
    tests = [("images", over_images), ("seeds", over_seeds)]
    if test == "seeds":
        tests.reverse()
    made = [(name, one) for name, one in tests if not math.isnan(one.p)]
    return made[0] if made else ("", over_seeds)


def _by_image(pairs: pd.DataFrame, cells: Path) -> Values:
    """(N,) left minus right per image in percent, averaged over seeds; empty where not paired."""
    if pairs.empty or not pairs[["record_left", "record_right"]].astype(bool).all(axis=None):
        return np.empty(0)
    left, right = (
        [
            Record.read(CellFolder(cells / cell).record(record))
            for cell, record in zip(pairs[f"cell_{side}"], pairs[f"record_{side}"], strict=True)
        ]
        for side in ("left", "right")
    )
    if any(not np.array_equal(record.index, left[0].index) for record in (*left, *right)):
        return np.empty(0)
    correct = [np.mean([record.correct for record in side], axis=0) for side in (left, right)]
    difference: Values = 100.0 * (correct[0] - correct[1])
    return difference


def verdict(difference: float, test: PairedTest, margin: float, level: float) -> str:
    """`held`, `not held` or `undecided (why)`.

    A claim held if the difference is as claimed and that is significant; it did not hold if it is
    the other way round, or beyond the margin of a claimed equality, and that is significant.
    """
    as_claimed = abs(difference) < margin if margin else difference > 0
    if math.isnan(test.p):
        return f"undecided ({_direction(difference, margin)}, no test)"
    if as_claimed and test.p < level:
        return "held"
    if not as_claimed and test.p_against < level:
        return "not held"
    return f"undecided ({_direction(difference, margin)}, not significant)"


def _direction(difference: float, margin: float) -> str:
    if margin:
        return "within the margin" if abs(difference) < margin else "beyond the margin"
    return "as claimed" if difference > 0 else "the other way round" if difference < 0 else "equal"
