"""Distances to the nearest misclassified image, as minimum-norm attacks find them.

They are in 255ths of the pixel range, as epsilon is written: 8 is 8/255, in l2 as in linf.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raat_core.cells.folder import CellFolder
from raat_core.evaluation.open_attacks import DISTANCE
from raat_core.evaluation.records import Record

MEDIAN = "median-distance"
"""Kind of a derived number."""
LEVELS = 255
POINTS = 64
"""Of a curve, beside the one at 0."""
_SHOWN = 0.98
"""Of all distances of a panel, how many lie on its axis."""
NO_DISTANCES = "its record has no distances"
NO_MEDIAN = "of more than half of the images no misclassified one was found"
"""Reasons of gaps."""
Values = np.ndarray[Any, np.dtype[np.float64]]


def is_distance(metric: str, derived: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a metric is in 255ths, and no accuracy."""
    return metric in derived and derived[metric]["kind"] == MEDIAN


def with_medians(
    measured: pd.DataFrame, derived: Mapping[str, Mapping[str, Any]], cells: Path
) -> pd.DataFrame:
    """Add a row for the median distance of every cell, for each derived number of that kind.

    Args:
        measured: from `measure`; the column `accuracy` holds the distance.
        derived: `kind` and `of` by metric; those of other kinds are left to `derive`.
        cells: the folder of all cells.
    """
    added = []
    for metric in derived if not measured.empty else ():
        if is_distance(metric, derived):
            (attack,) = derived[metric]["of"]
            rows = measured[measured["metric"] == attack].to_dict("records")
            added += [{**row, "metric": metric, **_median(row, cells)} for row in rows]
    return pd.concat([measured, pd.DataFrame(added)], ignore_index=True) if added else measured


def _median(row: Mapping[Any, Any], cells: Path) -> dict[str, Any]:
    if math.isnan(row["accuracy"]):
        return {}
    distances = _distances(row, cells)
    if distances is None:
        return _gap(NO_DISTANCES)
    median = float(np.median(distances))
    return {"accuracy": median} if math.isfinite(median) else _gap(NO_MEDIAN)


def distance_curves(measured: pd.DataFrame, cells: Path) -> pd.DataFrame:
    """Robust accuracy at every epsilon, from distances: a row for each point of each row's curve.

    At an epsilon, an image counts as robust if its distance is above it: without any further
    attack. All curves of a panel have the same `x`, up to where most distances lie.

    Args:
        measured: from `measure`; a row that is a gap, or becomes one here, stays one row.
        cells: the folder of all cells.
    """
    rows = measured.to_dict("records")
    found = [None if math.isnan(row["accuracy"]) else _distances(row, cells) for row in rows]
    points: list[dict[Any, Any]] = []
    for panel in dict.fromkeys(row["panel"] for row in rows):
        own = [(row, one) for row, one in zip(rows, found, strict=True) if row["panel"] == panel]
        grid = _grid([one for _, one in own if one is not None])
        for row, distances in own:
            if distances is not None:
                points += _curve(row, distances, grid)
            elif math.isnan(row["accuracy"]):
                points.append({**row, "record": None, "x": math.nan})
            else:
                points.append({**row, "record": None, "x": math.nan, **_gap(NO_DISTANCES)})
    return pd.DataFrame(points)


def _curve(row: Mapping[Any, Any], distances: Values, grid: Values) -> list[dict[Any, Any]]:
    return [
        {**row, "record": None, "x": float(x), "accuracy": 100 * float((distances > x).mean())}
        for x in grid
    ]


def _grid(several: Sequence[Values]) -> Values:
    """From 0 to where most distances lie, the same for all; empty without any."""
    known = np.concatenate([*several, np.empty(0)])
    known = known[np.isfinite(known)]
    if not len(known):
        return np.empty(0)
    last = float(np.quantile(known, _SHOWN))
    grid: Values = np.linspace(0, last, POINTS + 1).round(4)
    return np.unique(grid)


def _distances(row: Mapping[Any, Any], cells: Path) -> Values | None:
    """(N,) in 255ths, infinite where none was found; None where a record has none."""
    record = Record.read(CellFolder(cells / row["cell"]).record(row["record"]))
    found = record.details.get(DISTANCE)
    return None if found is None else LEVELS * found.astype(np.float64)


def _gap(reason: str) -> dict[str, Any]:
    return {"accuracy": math.nan, "gap": reason, "log": ""}
