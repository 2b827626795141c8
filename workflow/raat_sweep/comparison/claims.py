"""Claims and their verdicts, by tests paired over seeds and paired over test images.

Cells of one seed are a pair: they saw the same images in the same order from the same start. The
test over images says whether these trained models differ on images like these; the one over seeds
whether another training would show it too. All numbers are of the test images that all cells of
both sides have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from raat_sweep.comparison.significance import PairedTest, Values
from raat_sweep.numbers.accuracies import PLACE
from raat_sweep.numbers.outcomes import Outcomes, Records, common_images

Sides: TypeAlias = tuple[pd.DataFrame, pd.DataFrame]
"""Measurements of the left and the right rows of a claim."""


@dataclass(frozen=True)
class Outcome:
    """What a claim came to for one data set, architecture and ball; accuracies in percent."""

    place: dict[str, str]
    left: str
    right: str
    left_mean: float
    right_mean: float
    """Means over the seeds that both sides have, on the images that all of these have."""
    images: int
    """How many these are."""
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


def judge_claims(
    measurements: pd.DataFrame, item: Mapping[str, Any], records: Records
) -> pd.DataFrame:
    """One row per claim, data set, architecture and ball."""
    rows = []
    for index, claim in enumerate(item["claims"]):
        left, right = (
            measurements[measurements["part"] == f"{index}.{side}"] for side in ("left", "right")
        )
        for outcome in judge(claim, (left, right), records, item["test"], item["level"]):
            rows.append(_claim_row(claim, outcome))
    return pd.DataFrame(rows, columns=_CLAIM_COLUMNS)


_CLAIM_COLUMNS = [
    "claim", "source", *PLACE, "metric", "left", "right", "margin", "left_mean", "right_mean",
    "difference", "n_test", "n_seeds", "n_seeds_planned", "p_seeds", "p_samples", "decided_by",
    "verdict",
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
        "n_test": outcome.images,
        "n_seeds": outcome.seeds,
        "n_seeds_planned": outcome.planned,
        "p_seeds": outcome.p_seeds,
        "p_samples": outcome.p_samples,
        "decided_by": outcome.decided_by,
        "verdict": outcome.verdict,
    }


def judge(
    claim: Mapping[str, Any], sides: Sides, records: Records, test: str, level: float
) -> list[Outcome]:
    """A claim's outcome wherever both of its sides are asked for.

    Args:
        claim: `metric` and its `kind` (see `combining.accuracy_of`), `margin`, and `left_in` and
            `right_in`: where its sides stand, if that differs.
        sides: measurements of the cells of either, with the derived metrics.
        records: which hold the outcome of every image.
        test: "samples" or "seeds": whose p decides, where there is one.
        level: of significance.
    """
    left, right = (
        dict(list(side[side["metric"] == claim["metric"]].groupby(PLACE, sort=False)))
        for side in sides
    )
    return [
        _outcome(
            dict(zip(PLACE, map(str, place), strict=True)),
            (left[place], right[place]),
            claim,
            records,
            test,
            level,
        )
        for place in left
        if place in right
    ]


def _outcome(
    place: dict[str, str],
    sides: Sides,
    claim: Mapping[str, Any],
    records: Records,
    test: str,
    level: float,
) -> Outcome:
    left, lost_left = _best_row(sides[0], claim["left_in"])
    right, lost_right = _best_row(sides[1], claim["right_in"])
    lost = [*lost_left, *lost_right]
    asked = left.merge(right, on="seed", suffixes=("_left", "_right"))
    pairs = asked[asked["accuracy_left"].notna() & asked["accuracy_right"].notna()]
    margin, paired = float(claim["margin"]), _Paired.of(pairs, claim["kind"], records)
    over_seeds = PairedTest.of(paired.by_seed, margin)
    over_images = PairedTest.of(paired.by_image, margin)
    difference = float(paired.by_seed.mean()) if len(paired.by_seed) else math.nan
    decided_by, decisive = _deciding(over_seeds, over_images, test)
    if lost:
        result = f"not measured ({', '.join(lost)} missing)"
    elif pairs.empty:
        result = "not measured (no seed that both sides have)"
    elif not paired.images:
        result = "not measured (no test image that both sides have)"
    else:
        result = verdict(difference, decisive, margin, level)
    return Outcome(
        place=place,
        left=_named(str(left["method"].iloc[0]), claim["left_in"]),
        right=_named(str(right["method"].iloc[0]), claim["right_in"]),
        left_mean=_mean(paired.left),
        right_mean=_mean(paired.right),
        images=paired.images,
        seeds=len(pairs),
        planned=len(asked),
        difference=difference,
        p_seeds=over_seeds.p,
        p_samples=over_images.p,
        decided_by=decided_by,
        verdict=result,
    )


@dataclass(frozen=True)
class _Paired:
    """Both sides' numbers over the images that all cells of all pairs have, in percent."""

    images: int
    """How many these are."""
    left: Values
    right: Values
    """(S,) by seed; empty without images."""
    by_image: Values
    """(N,) left minus right per image, averaged over seeds; empty for numbers that have none."""

    @classmethod
    def of(cls, pairs: pd.DataFrame, kind: str, records: Records) -> _Paired:
        """Of the pairs of seeds that both sides have."""
        sides = [
            [
                records.outcomes(cell, record)
                for cell, record in zip(pairs[f"cell_{side}"], pairs[f"record_{side}"], strict=True)
            ]
            for side in ("left", "right")
        ]
        everything = [outcomes for side in sides for outcomes in side]
        index = common_images(everything) if everything else np.empty(0, dtype=np.int32)
        if not len(index):
            return cls(0, np.empty(0), np.empty(0), np.empty(0))
        left, right = ([outcomes.on(index) for outcomes in side] for side in sides)
        by_image = _scores(left, kind) - _scores(right, kind)
        return cls(len(index), _accuracies(left, kind), _accuracies(right, kind), by_image)

    @property
    def by_seed(self) -> Values:
        """(S,) left minus right."""
        return self.left - self.right


def _accuracies(side: Sequence[Outcomes], kind: str) -> Values:
    return np.array([outcomes.accuracy(kind) for outcomes in side])


def _scores(side: Sequence[Outcomes], kind: str) -> Values:
    scores: Values = np.mean([outcomes.scores(kind) for outcomes in side], axis=0)
    return scores


def _mean(values: Values) -> float:
    return float(values.mean()) if len(values) else math.nan


def _named(method: str, where: str) -> str:
    return f"{method} in {where}" if where else method


def _best_row(side: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Cells of the row with the highest mean, or of the first; and names of rows without a number.

    While there are such rows, which one is best is not known.
    """
    means = side.groupby("method", sort=False)["accuracy"].mean()
    best = means.idxmax() if means.notna().any() else means.index[0]
    lost = [_named(str(method), where) for method in means[means.isna()].index]
    return side[side["method"] == best], lost


def _deciding(over_seeds: PairedTest, over_images: PairedTest, test: str) -> tuple[str, PairedTest]:
    """The test that was chosen, or the other one where that cannot be made."""
    tests = [("images", over_images), ("seeds", over_seeds)]
    if test == "seeds":
        tests.reverse()
    made = [(name, one) for name, one in tests if not math.isnan(one.p)]
    return made[0] if made else ("", over_seeds)


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
