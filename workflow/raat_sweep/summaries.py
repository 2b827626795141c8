"""What a table's rows come to: means over seeds, published numbers, the best over the others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from raat_core.errors import UserError
from raat_sweep.formats import PLACE, listed
from raat_sweep.measurements import derived_means

GROUP = ["dataset", "norm", "epsilon"]
ROW = ["dataset", "architecture", "norm", "epsilon", "method", "variant"]
Values = dict[str, Any]


def summarise(measurements: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row per data set, architecture, threat model, method and variant, as they first appear.

    For each metric, over the seeds that have a value: `<metric>_mean` and `<metric>_std` (sample
    standard deviation) in percent, `<metric>_n` test images, `<metric>_seeds`. What cannot be
    computed is missing: all of it without a value, the standard deviation with one seed.
    `n_seeds` is the smallest `<metric>_seeds`, `n_seeds_planned` what the config asks for, and
    `n_test` the test images of the metric that has most.

    Raises:
        UserError: one metric was measured on different numbers of test images of one data set, so
            that its numbers do not compare.
    """
    _require_equal_samples(measurements)
    summary = pd.DataFrame(
        [
            {**dict(zip(ROW, key, strict=True)), **_statistics(cells_of_row, metrics)}
            for key, cells_of_row in measurements.groupby(ROW, sort=False)
        ]
    )
    sizes = ["n_test", *(f"{metric}_n" for metric in metrics)]
    return summary.astype(dict.fromkeys(sizes, "Int64"))


def summarise_cited(
    cited: Mapping[str, Any] | None, metrics: Sequence[str], derived: Mapping[str, Any]
) -> pd.DataFrame:
    """Published numbers as rows like `summarise`'s, with their `source` and the `path` they are in.

    What is derived is computed from the published means; it has no standard deviation.

    Args:
        cited: None, or `path` and `rows` (from `Plan.published_rows`).
        metrics: the columns.
        derived: `kind` and `of` by metric.
    """
    rows = cited["rows"] if cited else []
    by_method: dict[tuple[str, ...], list[Values]] = {}
    for row in rows:
        place = tuple(row[column] for column in (*GROUP, "architecture", "method", "source"))
        by_method.setdefault(place, []).append(row)
    summary = [
        {
            **dict(zip((*GROUP, "architecture", "method", "source"), place, strict=True)),
            **_cited_statistics(some, metrics, derived),
            "path": cited["path"] if cited else "",
        }
        for place, some in by_method.items()
    ]
    return pd.DataFrame(summary)


def _cited_statistics(
    rows: Sequence[Values], metrics: Sequence[str], derived: Mapping[str, Any]
) -> Values:
    means = {row["metric"]: row["mean"] for row in rows}
    means |= derived_means(means, derived)
    deviations = {row["metric"]: row["std"] for row in rows}
    statistics: Values = {}
    for metric in metrics:
        statistics[f"{metric}_mean"] = means.get(metric, math.nan)
        statistics[f"{metric}_std"] = deviations.get(metric, math.nan)
    return statistics


def improvement(
    summary: pd.DataFrame,
    metrics: Sequence[str],
    ours: Sequence[str],
    *,
    require_all: bool = False,
) -> pd.DataFrame:
    """The best of our methods over the best of the others: 100 (a - b) / b, columns `metrics`.

    One row per data set, architecture, norm and epsilon. The means are not rounded before; the
    best is taken among the methods that have a value, and without one on either side the entry
    is NaN.

    Args:
        summary: from `summarise`.
        metrics: the columns.
        ours: methods' labels, which also stand for the settings varied under them.
        require_all: the entry is NaN, too, where any method has no value: the best is not known.
    """
    means = [f"{metric}_mean" for metric in metrics]
    rows = []
    for key, group in summary.groupby(PLACE, sort=False):
        own = [m for m in group["method"] if any(_has_label(m, label) for label in ours)]
        is_ours = group["method"].isin(own)
        best, rival = (
            group.loc[side, means].max(skipna=not require_all) for side in (is_ours, ~is_ours)
        )
        gains = {m: _gain(best[f"{m}_mean"], rival[f"{m}_mean"]) for m in metrics}
        rows.append({**dict(zip(PLACE, key, strict=True)), **gains})
    return pd.DataFrame(rows)


def _gain(ours: float, others: float) -> float:
    """Percent; NaN where one is NaN, and over zero accuracy, where it has no meaning."""
    return 100 * (ours - others) / others if others > 0 else math.nan


def _require_equal_samples(cells: pd.DataFrame) -> None:
    measured = cells[cells["accuracy"].notna()]
    for (dataset, metric), group in measured.groupby(["dataset", "metric"], sort=False):
        sizes = sorted(set(group["samples"]))
        if len(sizes) > 1:
            examples = [group[group["samples"] == size]["cell"].iloc[0] for size in sizes[:2]]
            raise UserError(
                f"{metric} on {dataset} was measured on {listed(sizes)} test images "
                f"({listed(examples)}): these accuracies do not compare"
            )


def _statistics(cells: pd.DataFrame, metrics: Sequence[str]) -> Values:
    statistics: Values = {}
    measured = cells[cells["accuracy"].notna()]
    for metric in metrics:
        chosen = measured[measured["metric"] == metric]
        statistics[f"{metric}_mean"] = chosen["accuracy"].mean()
        statistics[f"{metric}_std"] = chosen["accuracy"].std(ddof=1)
        statistics[f"{metric}_n"] = int(chosen["samples"].max()) if len(chosen) else pd.NA
        statistics[f"{metric}_seeds"] = len(chosen)
    return {
        **statistics,
        "n_seeds": min(statistics[f"{metric}_seeds"] for metric in metrics),
        "n_seeds_planned": cells["seed"].nunique(),
        "n_test": int(measured["samples"].max()) if len(measured) else pd.NA,
    }


def _has_label(method: str, label: str) -> bool:
    """Whether `method` is `label`, or `label (setting = value, ...)` as `Point.row` writes it."""
    return re.fullmatch(rf"{re.escape(label)}( \([\w-]+ = .*\))?", method) is not None
