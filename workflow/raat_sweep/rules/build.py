"""Items of a config, from description to files: what the aggregating rules call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raat_core.cells.folder import CellFolder
from raat_core.cells.history import require_whole_history
from raat_core.cells.manifest import read_manifest
from raat_core.data.cache import data_root
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_sweep.monitor.failures import Failures
from raat_sweep.plan.plan import Plan
from raat_sweep.results.markers import LOOKED_AFTER, forget
from raat_sweep.rules.cells_csv import write_cells
from raat_sweep.rules.description import Description, describe, product_names

if TYPE_CHECKING:
    import pandas as pd

    from raat_sweep.numbers.gaps import Footnotes
    from raat_sweep.numbers.outcomes import Records


def build(item: Description, *, with_gaps: bool = True) -> None:
    """Make an item's files from the records that there are.

    Args:
        item: from `describe`.
        with_gaps: leave gaps where numbers are missing or damaged. Without, all that an item is
            made from is said to be there; if it is not, what says so is removed, so that the same
            command looks after these cells.

    Raises:
        UserError: a file cannot be written, or without gaps, what is missing or damaged.
    """
    results = Path(item["results"])
    if item["kind"] == "cells":
        write_cells(results, item["summaries"])
        return
    # pandas and matplotlib take a second to import, which building the graph does not need.
    from raat_sweep.numbers.accuracies import measure
    from raat_sweep.numbers.best import BEST_SENTENCE, notes_on_best
    from raat_sweep.numbers.code import CODE_SENTENCE, notes_on_code
    from raat_sweep.numbers.curves import measure_figure, points_of
    from raat_sweep.numbers.derived import derive
    from raat_sweep.numbers.distances import with_medians
    from raat_sweep.numbers.flags import FLAGS_SENTENCE, cells_of, notes_on_flags
    from raat_sweep.numbers.images import IMAGES_SENTENCE, notes_on_images
    from raat_sweep.numbers.outcomes import Records

    cells, failures = results / "cells", Failures(results, item.get("needs"))
    records = Records(cells)
    flags = notes_on_flags(item["rows"], records)
    remarks = [(CODE_SENTENCE, notes_on_code(item["rows"], cells)), (FLAGS_SENTENCE, flags)]
    if item["kind"] == "figure":
        from raat_sweep.figures.files import write_figure

        measured = measure_figure(item["rows"], item["panels"], records, failures)
        _require_all(measured, results, with_gaps)
        points = points_of(measured, item["panels"], item["derived"], records)
        write_figure(points, item, results, remarks)
        return
    measured = measure(item["rows"], records, failures)
    _require_all(measured, results, with_gaps)
    remarks.append((IMAGES_SENTENCE, notes_on_images(measured, records)))
    measurements = derive(with_medians(measured, item["derived"], cells), item["derived"], records)
    if item["kind"] == "comparison":
        from raat_sweep.comparison.files import write_comparison

        write_comparison(measurements, item, results, records, remarks)
        return
    warnings = notes_on_best(item["rows"], cells) if item["checkpoint"] == "best" else []
    footnotes = [*remarks, (BEST_SENTENCE, warnings)]
    if item["kind"] == "classes":
        _build_classes(measurements, item, records, footnotes)
        return
    from raat_sweep.tables.files import write_table

    write_table(measurements, item, results, footnotes, cells_of(flags))


def _build_classes(
    measurements: pd.DataFrame, item: Description, records: Records, footnotes: Footnotes
) -> None:
    from raat_sweep.figures.by_class import write_figure_of_classes
    from raat_sweep.numbers.by_class import measure_classes, measure_confusions
    from raat_sweep.tables.by_class import write_classes

    sources = item["datasets"], records, data_root()
    accuracies = measure_classes(measurements, list(item["metrics"]), item["derived"], *sources)
    confusions = measure_confusions(measurements, list(item["confusion"]), *sources)
    results = Path(item["results"])
    write_classes(measurements, accuracies, confusions, item, results, footnotes)
    write_figure_of_classes(accuracies, confusions, item, results)


def _require_all(measured: pd.DataFrame, results: Path, with_gaps: bool) -> None:
    from raat_sweep.numbers.gaps import NO_EPOCHS

    lost = measured[measured["accuracy"].isna() & (measured["gap"] != NO_EPOCHS)]
    if with_gaps or lost.empty:
        return
    problems = []
    for cell, record, gap in dict.fromkeys(
        zip(lost["cell"], lost["record"], lost["gap"], strict=True)
    ):
        folder = CellFolder(results / "cells" / cell)
        problem = _problem(folder, record if isinstance(record, str) else "")
        problems.append(problem or f"{folder.path}: {gap}; {LOOKED_AFTER}")
        forget(folder)
    raise UserError("\n".join(dict.fromkeys(problems)))


def _problem(folder: CellFolder, record: str) -> str | None:
    """What is the matter with what a number is read from, and what to do.

    `record` is empty for numbers of the history.
    """
    try:
        require_whole_history(folder)
    except UserError as error:
        return str(error)
    try:
        read_manifest(folder)
        if record:
            Record.read(folder.record(record))
    except UserError as error:
        return f"{error}; {LOOKED_AFTER}"
    return None


def build_with_gaps(plan: Plan, names: Sequence[str]) -> None:
    """Make items of a run that failed from what there is, dated so that the next run remakes them.

    Snakemake makes a table only when all its cells are there; here the rest of the numbers are
    saved from one failed cell. An item without any number is not made.
    """
    for name in names:
        description = describe(plan, name)
        cells = Path(description["results"]) / "cells"
        missing = [row for row in description["rows"] if not _source(cells, row).exists()]
        if len(missing) == len(description["rows"]):
            continue
        try:
            build(description)
        except UserError as error:
            print(f"error: {name}: not made: {error}")
            continue
        products = [Path(description["results"]) / product for product in product_names(plan, name)]
        for product in products:
            # Older than everything it is made from: Snakemake will find it out of date.
            os.utime(product, (0, 0))
        gaps = (
            f"made with gaps, {len(missing)} of {len(description['rows'])} numbers are missing; "
            f"run the same command again to fill them"
        )
        without = "made although its rule failed; run the same command again"
        print(f"{products[0]}: {gaps if missing else without}")
        failures = Failures(cells.parent, description.get("needs"))
        for cell in dict.fromkeys(row["cell"] for row in missing):
            failure = failures.of(CellFolder(cells / cell))
            why = f": {failure.reason}" if failure else ""
            log = f" (log: {failure.log})" if failure and failure.log else ""
            print(f"  missing: {cell}{why}{log}")


def _source(cells: Path, row: Mapping[str, Any]) -> Path:
    """The file that a row's number is read from."""
    folder = CellFolder(cells / row["cell"])
    return folder.history if row["record"] is None else folder.record(row["record"])
