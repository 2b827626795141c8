"""Accuracies on every class, and which classes are taken for which, over seeds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from raat_core.data.class_names import class_names
from raat_sweep.numbers.accuracies import ROW
from raat_sweep.numbers.combining import Scores, accuracy_of
from raat_sweep.numbers.derived import kind_of
from raat_sweep.numbers.formatting import records as rows_of
from raat_sweep.numbers.outcomes import Outcomes, Records

DataSets: TypeAlias = Mapping[str, tuple[str, int]]
"""By title: name in the catalogue, and number of classes."""


@dataclass(frozen=True)
class ByClass:
    """Of one row and metric: percent over the seeds that have a value; K classes."""

    row: dict[str, Any]
    """The columns `accuracies.ROW`."""
    metric: str
    names: tuple[str, ...]
    """(K,) of classes: their numbers where names are not known."""
    values: Scores
    """(S, K) accuracy by seed and class; NaN for a class that no image is of."""
    images: int
    """All of them."""
    counts: np.ndarray[Any, np.dtype[np.int64]]
    """(K,) images by class."""

    @property
    def mean(self) -> Scores:
        """(K,) NaN without a value."""
        return _over_seeds(np.nanmean, self.values)

    @property
    def std(self) -> Scores:
        """(K,) sample standard deviation; NaN for fewer than two seeds."""
        return _over_seeds(lambda values, axis: np.nanstd(values, axis=axis, ddof=1), self.values)


@dataclass(frozen=True)
class Confusion:
    """Of one row and attack: percent of a true class's images; K classes."""

    row: dict[str, Any]
    metric: str
    names: tuple[str, ...]
    values: np.ndarray[Any, np.dtype[np.float64]]
    """(S, K, K) by seed, true and predicted class; NaN for a class that no image is of."""

    @property
    def mean(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(K, K); NaN without a value."""
        return _over_seeds(np.nanmean, self.values)


def _over_seeds(statistic: Any, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """NaN where there is nothing to compute it of."""
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found: np.ndarray[Any, Any] = statistic(values, axis=0)
    return found


def measure_classes(
    measurements: pd.DataFrame,
    metrics: Sequence[str],
    derived: Mapping[str, Mapping[str, Any]],
    datasets: DataSets,
    records: Records,
    root: Path,
) -> list[ByClass]:
    """What became of every class, by row and metric, as they first appear.

    Args:
        measurements: from `measure`, with what is derived.
        metrics: the columns.
        derived: `kind` and `of` by metric.
        datasets: of the rows.
        records: that `measurements` were made of.
        root: where data lies, whose caches have the names of classes.
    """
    return [
        _by_class(row, metric, cells, kind_of(metric, derived), datasets, records, root)
        for row, metric, cells in _rows(measurements, metrics)
    ]


def measure_confusions(
    measurements: pd.DataFrame,
    attacks: Sequence[str],
    datasets: DataSets,
    records: Records,
    root: Path,
) -> list[Confusion]:
    """Which classes are predicted for which, by row and attack, as they first appear.

    Args as of `measure_classes`.
    """
    return [
        _confusion(row, metric, cells, datasets, records, root)
        for row, metric, cells in _rows(measurements, attacks)
    ]


def _rows(
    measurements: pd.DataFrame, metrics: Sequence[str]
) -> Iterator[tuple[dict[str, Any], str, list[dict[str, Any]]]]:
    """Every row and metric, with the measurements that have a value."""
    for key, of_row in measurements.groupby(ROW, sort=False):
        for metric in metrics:
            chosen = of_row[(of_row["metric"] == metric) & of_row["accuracy"].notna()]
            yield dict(zip(ROW, map(str, key), strict=True)), metric, rows_of(chosen)


def _by_class(
    row: dict[str, Any],
    metric: str,
    cells: Sequence[Mapping[str, Any]],
    kind: str,
    datasets: DataSets,
    records: Records,
    root: Path,
) -> ByClass:
    dataset, classes = datasets[row["dataset"]]
    found = [records.outcomes(cell["cell"], cell["record"]) for cell in cells]
    values = np.array([_accuracies(each, kind, classes) for each in found])
    counts = np.bincount(found[0].label, minlength=classes) if found else np.zeros(classes, int)
    return ByClass(
        row=row,
        metric=metric,
        names=_names(dataset, classes, found, root),
        values=values.reshape(len(found), classes),
        images=int(counts.sum()),
        counts=counts,
    )


def _accuracies(outcomes: Outcomes, kind: str, classes: int) -> list[float]:
    """By class."""
    order = np.argsort(outcomes.label, kind="stable")
    ends = np.cumsum(np.bincount(outcomes.label, minlength=classes))
    correct = np.split(outcomes.correct[:, order], ends[:-1], axis=1)
    return [accuracy_of(kind, of_class) for of_class in correct]


def _confusion(
    row: dict[str, Any],
    metric: str,
    cells: Sequence[Mapping[str, Any]],
    datasets: DataSets,
    records: Records,
    root: Path,
) -> Confusion:
    dataset, classes = datasets[row["dataset"]]
    shares, found = [], []
    for cell in cells:
        record = records.read(cell["cell"], cell["record"])
        pairs = record.label.astype(np.int64) * classes + record.prediction
        counts = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        with np.errstate(invalid="ignore"):
            shares.append(100.0 * counts / counts.sum(axis=1, keepdims=True))
        found.append(records.outcomes(cell["cell"], cell["record"]))
    values = np.array(shares).reshape(len(shares), classes, classes)
    return Confusion(row, metric, _names(dataset, classes, found, root), values)


def _names(dataset: str, classes: int, found: Sequence[Outcomes], root: Path) -> tuple[str, ...]:
    """Where a cache of the images that were measured is at hand it has them."""
    numbers = tuple(map(str, range(classes)))
    names = class_names(dataset, found[0].data, root) if found else None
    return numbers if names is None or len(names) != classes else names
