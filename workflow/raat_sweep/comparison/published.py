"""Measured numbers beside published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from raat_sweep.numbers.accuracies import PLACE, summarise
from raat_sweep.numbers.derived import derived_means
from raat_sweep.numbers.formatting import records
from raat_sweep.numbers.improvement import improvement

NUMBERS = [
    "published_mean", "published_std", "mean", "std", "n_test", "n_seeds", "difference",
    "within_spread",
]  # fmt: skip
GAIN = "↑ (%)"


def compare(measurements: pd.DataFrame, item: Mapping[str, Any]) -> pd.DataFrame:
    """One row per published number of a cell that the sweep has.

    Columns `table`, data set, architecture, ball, method, variant, metric, `published_mean` and
    `published_std`, `mean` and `std` of `n_test` test images over `n_seeds` seeds,
    `difference` (ours minus published, percentage points) and `within_spread`: whether the
    intervals mean ± std of both overlap, a missing std counting as 0; empty without our mean. Rows
    of the method `↑ (%)` hold the best of `ours` over the best of the others in percent, computed
    from the means on either side.
    """
    columns = ["table", *PLACE, "method", "variant", "metric", *NUMBERS]
    rows = [
        {"table": table, **row}
        for table in item["tables"]
        for row in _compare_table(measurements[measurements["part"] == table], table, item)
    ]
    return pd.DataFrame(rows, columns=columns)


def _compare_table(
    measurements: pd.DataFrame, table: str, item: Mapping[str, Any]
) -> list[dict[str, Any]]:
    described = item["tables"][table]
    published = _with_derived(
        [row for row in item["published"] if row["part"] == table],
        {
            metric: item["derived"][metric]
            for metric in described["metrics"]
            if metric in item["derived"]
        },
    )
    if not published:
        return []
    metrics = list(dict.fromkeys(row["metric"] for row in published))
    summary = summarise(measurements, metrics)
    ours = {(*_place(row), row["method"], row["variant"]): row for row in records(summary)}
    rows = [
        _compared(row, ours[(*_place(row), row["method"], row["variant"])]) for row in published
    ]
    if described["ours"]:
        rows += _gains(published, summary, metrics, described["ours"])
    return rows


def _with_derived(
    published: Sequence[dict[str, Any]], derived: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Published numbers, and behind those of each row of a table what follows from their means.

    What is published itself is not derived.
    """
    by_row: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for number in published:
        key = (*_place(number), number["method"], number["variant"])
        by_row.setdefault(key, []).append(number)
    rows = []
    for numbers in by_row.values():
        means = {number["metric"]: number["mean"] for number in numbers}
        rows += numbers
        rows += [
            {**numbers[0], "metric": metric, "mean": mean, "std": math.nan}
            for metric, mean in derived_means(means, derived).items()
            if metric not in means
        ]
    return rows


def _compared(published: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    metric = published["metric"]
    mean, std = ours[f"{metric}_mean"], ours[f"{metric}_std"]
    difference = mean - published["mean"]
    spread = sum(value for value in (published["std"], std) if not math.isnan(value))
    return {
        **{key: published[key] for key in (*PLACE, "method", "variant", "metric")},
        "published_mean": published["mean"],
        "published_std": published["std"],
        "mean": mean,
        "std": std,
        "n_test": ours[f"{metric}_n"],
        "n_seeds": ours[f"{metric}_seeds"],
        "difference": difference,
        "within_spread": None if math.isnan(difference) else abs(difference) <= spread,
    }


def _gains(
    published: Sequence[Mapping[str, Any]],
    summary: pd.DataFrame,
    metrics: Sequence[str],
    ours: Sequence[str],
) -> list[dict[str, Any]]:
    """The ↑ row of the paper's tables from the published means, and from ours.

    Without one of the methods the best of the others is not known: ours is missing then.
    """
    wide: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in published:
        place = dict(zip((*PLACE, "method"), (*_place(row), row["method"]), strict=True))
        wide.setdefault(tuple(place.values()), {**place})[f"{row['metric']}_mean"] = row["mean"]
    published_gains = improvement(pd.DataFrame(wide.values()), metrics, ours)
    own_gains = improvement(summary, metrics, ours, require_all=True)
    measured = {_place(row): row for row in records(own_gains)}
    rows = []
    for theirs in records(published_gains):
        own = measured[_place(theirs)]
        rows += [
            {
                **dict(zip(PLACE, _place(theirs), strict=True)),
                "method": GAIN,
                "variant": "",
                "metric": metric,
                "published_mean": theirs[metric],
                "mean": own[metric],
                "difference": own[metric] - theirs[metric],
            }
            for metric in metrics
        ]
    return rows


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in PLACE)
