"""Tests of claims: paired over seeds, and paired over test images.

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
from scipy import stats

from raat_core.cells.folder import CellFolder
from raat_core.evaluation.records import Record
from raat_sweep.numbers.formatting import PLACE

Values = np.ndarray[Any, np.dtype[np.float64]]


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


@dataclass(frozen=True)
class PairedTest:
    """A paired t-test; both p are NaN for fewer than two pairs."""

    p: float
    """Without a margin two-sided for a mean of zero; with one, that of the two one-sided tests
    (TOST) for a mean within ±margin: small where the difference is shown to be smaller."""
    p_against: float
    """Small where the claim is shown to be wrong, if the difference says so: `p` without a margin;
    with one, of the one-sided test for a mean beyond it."""

    @classmethod
    def of(cls, differences: Values, margin: float = 0.0) -> PairedTest:
        """Of one difference per pair."""
        if len(differences) < 2:
            return cls(math.nan, math.nan)
        mean, error = float(differences.mean()), float(stats.sem(differences))
        freedom = len(differences) - 1
        if margin:
            within = max(_tail(margin + side * mean, error, freedom) for side in (-1, 1))
            return cls(within, _tail(abs(mean) - margin, error, freedom))
        two_sided = 2 * _tail(abs(mean), error, freedom)
        return cls(two_sided, two_sided)


def _tail(distance: float, error: float, freedom: int) -> float:
    """P(T > distance / error); without any spread, what that tends to."""
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(stats.t.sf(distance / error, freedom))


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
