"""Numbers that are computed from several attacks on one cell: Mean, NRR, the worst case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from raat_sweep.numbers.accuracies import MEASURED
from raat_sweep.numbers.combining import combine, follows_from_means
from raat_sweep.numbers.distances import is_distance
from raat_sweep.numbers.outcomes import BETWEEN_RECORDS, Records

NO_COMMON_IMAGES = "no test image is in all records that it is made of"
"""Reason of a gap."""
_PARTS = ("record", "accuracy", "gap", "log")


def derive(
    measurements: pd.DataFrame, derived: Mapping[str, Mapping[str, Any]], records: Records
) -> pd.DataFrame:
    """Add a row per derived metric to every cell that has all rows it is made of.

    It is computed over the images that all of these have, which are its `samples`; `record` has
    the names of theirs. Without one of them it has the gap of the first.

    Args:
        measurements: from `measure`.
        derived: `kind` ("mean", "harmonic-mean" or "worst"; others are left out) and `of` by
            metric.
        records: that `measurements` were made of.
    """
    if measurements.empty or not derived:
        return measurements
    place = [column for column in measurements.columns if column not in MEASURED]
    added = [
        _derived(measurements, place, metric, entry, records)
        for metric, entry in derived.items()
        if not is_distance(metric, derived)
    ]
    return pd.concat([measurements, *added], ignore_index=True)


def _derived(
    measurements: pd.DataFrame,
    place: list[str],
    metric: str,
    entry: Mapping[str, Any],
    records: Records,
) -> pd.DataFrame:
    parts = [measurements[measurements["metric"] == attack] for attack in entry["of"]]
    joined = parts[0][place]
    for number, part in enumerate(parts):
        names = {what: f"{what}_{number}" for what in _PARTS}
        joined = joined.merge(part[[*place, *names]].rename(columns=names))
    numbers = [
        {"metric": metric, **_number(row, len(parts), entry["kind"], records)}
        for row in joined.to_dict("records")
    ]
    columns = ["metric", "record", "accuracy", "samples", "gap", "log"]
    made = pd.DataFrame(numbers, columns=columns, index=joined.index)
    derived: pd.DataFrame = pd.concat([joined[place], made], axis="columns")
    return derived


def _number(row: Mapping[Any, Any], parts: int, kind: str, records: Records) -> dict[str, Any]:
    """Of one cell, from the columns of its parts."""
    record = BETWEEN_RECORDS.join(str(row[f"record_{number}"]) for number in range(parts))
    gap = {"record": record, "accuracy": math.nan, "samples": 0}
    for number in range(parts):
        if np.isnan(row[f"accuracy_{number}"]):
            return {**gap, "gap": row[f"gap_{number}"], "log": row[f"log_{number}"]}
    outcomes = records.outcomes(row["cell"], record)
    if not len(outcomes.index):
        return {**gap, "gap": NO_COMMON_IMAGES, "log": ""}
    found = {"accuracy": outcomes.accuracy(kind), "samples": len(outcomes.index)}
    return {**gap, **found, "gap": "", "log": ""}


def derived_means(
    means: Mapping[str, float], derived: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """By metric, what is derived from the means of one row, where it has all that it is made of.

    Args:
        means: by metric, in percent.
        derived: as for `derive`; what does not follow from means is left out.
    """
    return {
        metric: combine(entry["kind"], [means[part] for part in entry["of"]])
        for metric, entry in derived.items()
        if follows_from_means(entry["kind"]) and set(entry["of"]) <= set(means)
    }


def kind_of(metric: str, derived: Mapping[str, Mapping[str, Any]]) -> str:
    """The kind of a derived number, or that of an attack's: the accuracy itself."""
    return str(derived[metric]["kind"]) if metric in derived else "mean"
