"""Records and histories as tidy tables: one row per cell and number, gaps visible."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raat_core.cell_folder import CellFolder
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_sweep.failures import Failures

_KEYS = ("part", "seed", "cell")
_MEASURED = ("metric", "record", "accuracy", "samples", "gap", "log")


def measure(rows: Sequence[dict[str, Any]], cells: Path) -> pd.DataFrame:
    """Fill in what the records say: columns `accuracy` (percent), `samples`, `gap`, `log`.

    A record that is missing or damaged leaves NaN, 0 samples, and the reason in `gap`: `not
    trained` or, where a log says why, `not trained: <why>`, with the log's path in `log`.

    Args:
        rows: from `Plan.rows_of`: `cell` and `record` name the file.
        cells: the folder of all cells.
    """
    failures = Failures(cells.parent)
    if not rows:
        return pd.DataFrame(columns=[*_KEYS, *_MEASURED])
    return pd.DataFrame(
        [
            {**row, **_outcome(CellFolder(cells / row["cell"]), row["record"], failures)}
            for row in rows
        ]
    )


def _outcome(cell: CellFolder, record: str, failures: Failures) -> dict[str, Any]:
    gap = {"accuracy": math.nan, "samples": 0}
    if not cell.manifest.exists():
        return {**gap, **_gap("not trained", cell, failures)}
    if not cell.record(record).exists():
        return {**gap, **_gap("not attacked", cell, failures)}
    try:
        weights = cell.read_manifest()["weights_sha256"]
    except UserError as error:
        return {**gap, **_damage("manifest damaged", error)}
    try:
        found = Record.read(cell.record(record))
    except UserError as error:
        return {**gap, **_damage("record damaged", error)}
    if found.metadata["weights_sha256"] != weights[found.metadata["checkpoint"]]:
        return {**gap, "gap": "record of other weights", "log": ""}
    return {"accuracy": found.accuracy, "samples": len(found.index), "gap": "", "log": ""}


def _damage(what: str, error: UserError) -> dict[str, str]:
    """`gap` and `log` of a number that cannot be told; the file is named in the log."""
    print(f"warning: {error}", flush=True)
    return {"gap": what, "log": ""}


def _gap(what: str, cell: CellFolder, failures: Failures) -> dict[str, str]:
    """`gap` and `log` of a number that is not there."""
    failure = failures.of(cell)
    if failure is None:
        return {"gap": what, "log": ""}
    return {"gap": f"{what}: {failure.reason}", "log": str(failure.log)}


def derive(measurements: pd.DataFrame, derived: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Add a row per derived metric to every cell that has all rows it is made of.

    Its samples are the smallest of its parts'; without one of these it has the gap of the first.

    Args:
        measurements: from `measure`.
        derived: `kind` ("mean" or "harmonic-mean") and `of` by metric.
    """
    if measurements.empty or not derived:
        return measurements
    place = [column for column in measurements.columns if column not in _MEASURED]
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


def measure_figure(
    rows: Sequence[dict[str, Any]],
    panels: Mapping[str, Mapping[str, Any]],
    derived: Mapping[str, Mapping[str, Any]],
    cells: Path,
) -> pd.DataFrame:
    """`measure` (with what is derived) or `curves`, as each panel's x asks for; columns as there.

    Only the metrics that a panel shows are kept.
    """
    over_epochs = [row for row in rows if panels[row["panel"]]["x"] == "epoch"]
    others = [row for row in rows if panels[row["panel"]]["x"] != "epoch"]
    frames = []
    if over_epochs:
        frames.append(curves(over_epochs, cells))
    if others:
        frames.append(derive(measure(others, cells), derived))
    points = pd.concat(frames, ignore_index=True)
    pairs = zip(points["panel"], points["metric"], strict=True)
    return points[[metric in panels[panel]["metrics"] for panel, metric in pairs]]


def curves(rows: Sequence[dict[str, Any]], cells: Path) -> pd.DataFrame:
    """One row per evaluated epoch of every cell's history: `x` is the epoch.

    A cell without evaluated epochs leaves one row with NaN, and the reason in `gap`.
    """
    failures = Failures(cells.parent)
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
    if not cell.history.exists():
        return pd.DataFrame([{**nothing, **_gap("not trained", cell, failures)}])
    try:
        cell.require_whole_history()
    except UserError as error:
        return pd.DataFrame([{**nothing, **_damage("history damaged", error)}])
    column = {"clean": "clean_accuracy", "robust": "robust_accuracy"}[metric]
    points = pd.read_csv(cell.history)[["epoch", column]].dropna()
    if points.empty:
        return pd.DataFrame([{**nothing, "gap": "not evaluated", "log": ""}])
    return points.rename(columns={"epoch": "x", column: "accuracy"}).assign(gap="", log="")
