"""Points of a figure: what is known of each line at each x, over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

LINE = ["panel", "series", "metric"]
STATISTICS = ["mean", "std", "n_seeds", "n_seeds_planned", "samples", "gap"]


def summarise_figure(points: pd.DataFrame) -> pd.DataFrame:
    """One row per panel, series, x and metric, as they first appear, over seeds with a value.

    Columns `panel`, `series`, `x`, `metric`, `mean` and `std` (sample standard deviation; missing
    with one seed) in percent, `n_seeds`, `n_seeds_planned`, `samples` (test images; missing for
    curves over epochs), and `gap`, the reasons why seeds have no value.
    """
    summary = pd.DataFrame(
        [
            {**dict(zip(LINE, key, strict=True)), **row}
            for key, line in points.groupby(LINE, sort=False)
            for row in _line_rows(line)
        ]
    )
    return summary[["panel", "series", "x", "metric", *STATISTICS]].astype({"samples": "Int64"})


def _line_rows(line: pd.DataFrame) -> list[dict[str, Any]]:
    """Statistics of one line at each x.

    A seed without history has no epochs: it counts as missing at every epoch of the others.
    """
    is_curve = line["record"].isna().all()
    nowhere = line[line["x"].isna()]
    if is_curve and len(nowhere) < len(line):
        reasons = list(nowhere["gap"])
        seeds = line["seed"].nunique()
        placed = line[line["x"].notna()]
        groups = placed.groupby("x", sort=False)
        return [{"x": x, **_statistics(here, seeds, reasons)} for x, here in groups]
    groups = line.groupby("x", sort=False, dropna=False)
    return [{"x": x, **_statistics(here, here["seed"].nunique(), [])} for x, here in groups]


def _statistics(here: pd.DataFrame, planned: int, reasons: Sequence[str]) -> dict[str, Any]:
    measured = here[here["accuracy"].notna()]
    known = [reason for reason in dict.fromkeys([*here["gap"], *reasons]) if reason]
    incomplete = len(measured) < planned
    samples = measured["samples"].max() if "samples" in measured else math.nan
    return {
        "mean": measured["accuracy"].mean(),
        "std": measured["accuracy"].std(ddof=1),
        "n_seeds": len(measured),
        "n_seeds_planned": planned,
        "samples": pd.NA if pd.isna(samples) else int(samples),
        "gap": "; ".join(known or ["not evaluated"]) if incomplete else "",
    }
