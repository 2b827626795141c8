"""Tests of claims: paired over seeds, and paired over test images.

Cells of one seed are a pair: they saw the same images in the same order from the same start. The
test over images says whether these trained models differ on images like these; the one over seeds
whether another training would show it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from raat_core.cell_folder import CellFolder
from raat_core.evaluation.records import Record

PLACE = ["dataset", "architecture", "norm", "epsilon"]
Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Outcome:
    """What a claim came to for one data set, architecture and ball; accuracies in percent."""

    place: dict[str, str]
    left: str
    right: str
    left_mean: float
    right_mean: float
    seeds: int
    """Seeds that both sides have."""
    difference: float
    """Mean over these seeds of left minus right, in percentage points."""
    p_seeds: float
    p_samples: float
    """Two-sided, or of the test for equality within the margin; NaN where there is no test."""
    verdict: str


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
        sides = [_best(group, claim[side]) for side in ("left", "right")]
        if sides[0] is not None and sides[1] is not None:
            where = dict(zip(PLACE, map(str, place), strict=True))
            outcomes.append(_outcome(where, sides[0], sides[1], claim, cells, test, level))
    return outcomes


def _best(group: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame | None:
    """Rows of the label with the highest mean; of the first if none has a value."""
    asked = group[group["method"].isin(labels)]
    if asked.empty:
        return None
    means = asked.groupby("method", sort=False)["accuracy"].mean()
    label = means.idxmax() if means.notna().any() else means.index[0]
    return asked[asked["method"] == label].drop_duplicates("seed")


def _outcome(
    place: dict[str, str],
    left: pd.DataFrame,
    right: pd.DataFrame,
    claim: Mapping[str, Any],
    cells: Path,
    test: str,
    level: float,
) -> Outcome:
    pairs = left.merge(right, on="seed", suffixes=("_left", "_right"))
    pairs = pairs[pairs["accuracy_left"].notna() & pairs["accuracy_right"].notna()]
    margin = float(claim["margin"])
    by_seed = (pairs["accuracy_left"] - pairs["accuracy_right"]).to_numpy(dtype=float)
    p_seeds = paired_p(by_seed, margin)
    p_samples = paired_p(_by_sample(pairs, cells), margin)
    difference = float(by_seed.mean()) if len(by_seed) else math.nan
    return Outcome(
        place=place,
        left=str(left["method"].iloc[0]),
        right=str(right["method"].iloc[0]),
        left_mean=float(left["accuracy"].mean()),
        right_mean=float(right["accuracy"].mean()),
        seeds=len(pairs),
        difference=difference,
        p_seeds=p_seeds,
        p_samples=p_samples,
        verdict=verdict(difference, _deciding(p_seeds, p_samples, test), margin, level),
    )


def _deciding(p_seeds: float, p_samples: float, test: str) -> float:
    """The p of the test that was chosen, or of the other one where that cannot be made."""
    first, second = (p_samples, p_seeds) if test == "samples" else (p_seeds, p_samples)
    return second if math.isnan(first) else first


def _by_sample(pairs: pd.DataFrame, cells: Path) -> Values:
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


def paired_p(differences: Values, margin: float = 0.0) -> float:
    """The p of a paired t-test; NaN for fewer than two pairs.

    Without a margin it is two-sided for a mean of zero. With one, it is that of the two one-sided
    tests (TOST) for a mean within ±margin: small where the difference is shown to be smaller.
    """
    if len(differences) < 2:
        return math.nan
    mean, error = float(differences.mean()), float(stats.sem(differences))
    freedom = len(differences) - 1
    if margin:
        return max(_tail(margin - mean, error, freedom), _tail(margin + mean, error, freedom))
    return 2 * _tail(abs(mean), error, freedom)


def _tail(distance: float, error: float, freedom: int) -> float:
    """P(T > distance / error); without any spread, what that tends to."""
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(stats.t.sf(distance / error, freedom))


def verdict(difference: float, p: float, margin: float, level: float) -> str:
    """`held`, `not held`, `undecided (why)` or `not measured`.

    A claim held if the difference is as claimed and significant; it did not hold if the difference
    is the other way round, or larger than the margin of a claimed equality.
    """
    if math.isnan(difference):
        return "not measured"
    if margin:
        as_claimed, other = abs(difference) < margin, "not shown to be within the margin"
    else:
        as_claimed, other = difference > 0, "as claimed, not significant"
    if not as_claimed:
        return "not held"
    if math.isnan(p):
        return "undecided (as claimed, no test)"
    return "held" if p < level else f"undecided ({other})"
