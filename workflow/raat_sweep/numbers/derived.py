"""Numbers that are computed from several accuracies of one cell: Mean, NRR."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from raat_sweep.numbers.accuracies import MEASURED


def derive(measurements: pd.DataFrame, derived: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Add a row per derived metric to every cell that has all rows it is made of.

    Its samples are the smallest of its parts'; without one of these it has the gap of the first.

    Args:
        measurements: from `measure`.
        derived: `kind` ("mean" or "harmonic-mean") and `of` by metric.
    """
    if measurements.empty or not derived:
        return measurements
    place = [column for column in measurements.columns if column not in MEASURED]
    added = [_derived(measurements, place, metric, entry) for metric, entry in derived.items()]
    return pd.concat([measurements, *added], ignore_index=True)


def _derived(
    measurements: pd.DataFrame, place: list[str], metric: str, entry: Mapping[str, Any]
) -> pd.DataFrame:
    parts = [measurements[measurements["metric"] == attack] for attack in entry["of"]]
    joined = parts[0][place]
    for number, part in enumerate(parts):
        names = {what: f"{what}_{number}" for what in ("accuracy", "samples", "gap", "log")}
        joined = joined.merge(part[[*place, *names]].rename(columns=names))
    columns = {
        what: [f"{what}_{number}" for number in range(len(parts))]
        for what in ("accuracy", "samples", "gap", "log")
    }
    accuracies = joined[columns["accuracy"]].to_numpy(dtype=float)
    missing = np.isnan(accuracies)
    first, rows = missing.argmax(axis=1), np.arange(len(joined))
    reasons = {
        what: np.where(missing.any(axis=1), joined[columns[what]].to_numpy()[rows, first], "")
        for what in ("gap", "log")
    }
    derived: pd.DataFrame = joined[place].assign(
        metric=metric,
        record="",
        accuracy=[
            math.nan if lost else combine(entry["kind"], list(values))
            for lost, values in zip(missing.any(axis=1), accuracies, strict=True)
        ],
        samples=joined[columns["samples"]].min(axis=1),
        **reasons,
    )
    return derived


def combine(kind: str, accuracies: Sequence[float]) -> float:
    """Their mean or harmonic mean; of two, the latter is the NRR of the paper's Section 5.3."""
    if kind == "mean":
        return statistics.fmean(accuracies)
    return statistics.harmonic_mean(accuracies)


def derived_means(
    means: Mapping[str, float], derived: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """By metric, what is derived from the means of one row, where it has all that it is made of.

    Args:
        means: by metric, in percent.
        derived: as for `derive`.
    """
    return {
        metric: combine(entry["kind"], [means[part] for part in entry["of"]])
        for metric, entry in derived.items()
        if set(entry["of"]) <= set(means)
    }
