"""Published numbers as rows beside measured ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from raat_sweep.numbers.accuracies import GROUP, Values
from raat_sweep.numbers.derived import derived_means


def summarise_cited(
    cited: Mapping[str, Any] | None, metrics: Sequence[str], derived: Mapping[str, Any]
) -> pd.DataFrame:
    """Published numbers as rows like `summarise`'s, with their `source` and the `path` they are in.

    What is derived is computed from the published means; it has no standard deviation.

    Args:
        cited: None, or `path` and `rows` (from `Plan.cited_rows`).
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
