"""The best of some methods relative to the best of the others."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pandas as pd

from raat_sweep.numbers.accuracies import PLACE


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


def _has_label(method: str, label: str) -> bool:
    """Whether `method` is `label`, or `label (setting = value, ...)` as `Point.row` writes it."""
    return re.fullmatch(rf"{re.escape(label)}( \([\w-]+ = .*\))?", method) is not None
