"""Histories of trainings as points of figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raat_core.cells.folder import CellFolder
from raat_core.cells.history import require_whole_history
from raat_core.cells.spec import read_cell
from raat_core.errors import UserError
from raat_sweep.monitor.failures import Failures
from raat_sweep.numbers.accuracies import measure
from raat_sweep.numbers.derived import derive
from raat_sweep.numbers.distances import distance_curves, with_medians
from raat_sweep.numbers.gaps import NO_EPOCHS, damaged, not_trained
from raat_sweep.numbers.outcomes import Records


def measure_figure(
    rows: Sequence[dict[str, Any]],
    panels: Mapping[str, Mapping[str, Any]],
    records: Records,
    failures: Failures | None = None,
) -> pd.DataFrame:
    """`measure`, `curves` or `distance_curves`, as each panel's x asks for; columns as there."""
    over_epochs = [row for row in rows if panels[row["panel"]]["x"] == "epoch"]
    over_distance = [row for row in rows if panels[row["panel"]]["x"] == "distance"]
    others = [row for row in rows if panels[row["panel"]]["x"] not in ("epoch", "distance")]
    frames = []
    if over_epochs:
        frames.append(curves(over_epochs, records.cells, failures))
    if others:
        frames.append(measure(others, records, failures))
    if over_distance:
        measured = measure(over_distance, records, failures)
        frames.append(distance_curves(measured, records.cells))
    return pd.concat(frames, ignore_index=True)


def points_of(
    measured: pd.DataFrame,
    panels: Mapping[str, Mapping[str, Any]],
    derived: Mapping[str, Mapping[str, Any]],
    records: Records,
) -> pd.DataFrame:
    """What `measure_figure` made, with what is derived; only the metrics that a panel shows."""
    is_curve = measured["record"].isna()
    medians = with_medians(measured[~is_curve], derived, records.cells)
    attacked = derive(medians, derived, records)
    frames = [frame for frame in (measured[is_curve], attacked) if len(frame)]
    points = pd.concat(frames, ignore_index=True)
    pairs = zip(points["panel"], points["metric"], strict=True)
    return points[[metric in panels[panel]["metrics"] for panel, metric in pairs]]


def curves(
    rows: Sequence[dict[str, Any]], cells: Path, failures: Failures | None = None
) -> pd.DataFrame:
    """One row per evaluated epoch of every cell's history: `x` is the epoch.

    A cell without evaluated epochs leaves one row with NaN, and the reason in `gap`.
    """
    failures = failures or Failures(cells.parent)
    frames = [
        _curve(CellFolder(cells / row["cell"]), row["metric"], failures).assign(
            **{key: value for key, value in row.items() if key != "x"}
        )
        for row in rows
    ]
    return pd.concat(frames, ignore_index=True)


def _curve(cell: CellFolder, metric: str, failures: Failures) -> pd.DataFrame:
    """Columns x, accuracy, gap, log."""
    nothing = {"x": math.nan, "accuracy": math.nan}
    if not cell.history.exists() and _is_given(cell):
        return pd.DataFrame([{**nothing, "gap": NO_EPOCHS, "log": ""}])
    if not cell.history.exists():
        return pd.DataFrame([{**nothing, **not_trained(cell, failures)}])
    try:
        require_whole_history(cell)
    except UserError as error:
        return pd.DataFrame([{**nothing, **damaged("history damaged", error)}])
    column = {"clean": "clean_accuracy", "robust": "robust_accuracy"}[metric]
    points = pd.read_csv(cell.history)[["epoch", column]].dropna()
    if points.empty:
        return pd.DataFrame([{**nothing, "gap": "not evaluated", "log": ""}])
    return points.rename(columns={"epoch": "x", column: "accuracy"}).assign(gap="", log="")


def _is_given(cell: CellFolder) -> bool:
    """Whether there is nothing that could have a history."""
    try:
        return cell.manifest.exists() and not read_cell(cell).trains
    except UserError:
        return False
