"""From records to accuracies, and over seeds to means and deviations; gaps stay visible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from raat_core.errors import UserError
from raat_sweep.monitor.failures import Failures
from raat_sweep.numbers.formatting import listed
from raat_sweep.numbers.gaps import damaged, missing_record
from raat_sweep.numbers.outcomes import Records

_KEYS = ("part", "seed", "cell")
MEASURED = ("metric", "record", "accuracy", "samples", "gap", "log")
"""Columns of a number; the others say where it stands."""
PLACE = ["dataset", "architecture", "norm", "epsilon"]
"""Columns that say on what numbers compare."""
GROUP = ["dataset", "norm", "epsilon"]
"""Those of a block of rows in a table."""
ROW = [*PLACE, "method", "variant"]
"""Those of a row: its seeds are averaged."""
Values = dict[str, Any]


def measure(
    rows: Sequence[dict[str, Any]], records: Records, failures: Failures | None = None
) -> pd.DataFrame:
    """Fill in what the records say: columns `accuracy` (percent), `samples`, `gap`, `log`.

    A record that is missing or damaged leaves NaN, 0 samples, and the reason in `gap`: `not
    trained` or, where a log says why, `not trained: <why>`, with the log's path in `log`.

    Args:
        rows: from `PlannedItem.rows`: `cell` and `record` name the file.
        records: of the folder of all cells.
        failures: that logs tell of; without, those beside that folder.
    """
    failures = failures or Failures(records.cells.parent)
    if not rows:
        return pd.DataFrame(columns=[*_KEYS, *MEASURED])
    return pd.DataFrame(
        [{**row, **_outcome(row["cell"], row["record"], records, failures)} for row in rows]
    )


def _outcome(cell: str, record: str, records: Records, failures: Failures) -> dict[str, Any]:
    gap = {"accuracy": math.nan, "samples": 0}
    if missing := missing_record(records.folder(cell), record, failures):
        return {**gap, **missing}
    try:
        records.manifest(cell)
    except UserError as error:
        return {**gap, **damaged("manifest damaged", error)}
    try:
        metadata = records.metadata(cell, record)
    except UserError as error:
        return {**gap, **damaged("record damaged", error)}
    try:
        mismatch = records.mismatch(cell, metadata)
    except UserError as error:  # Of a cell whose model the attack used.
        return {**gap, **damaged("manifest damaged", error)}
    if mismatch:
        return {**gap, "gap": mismatch, "log": ""}
    outcomes = records.outcomes(cell, record)
    return {
        "accuracy": outcomes.accuracy(),
        "samples": len(outcomes.index),
        "gap": "",
        "log": "",
    }


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
