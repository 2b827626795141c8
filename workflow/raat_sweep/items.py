"""Items of a config, from description to files: what the aggregating rules call."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raat_core.cell_folder import CellFolder
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.storage import cannot_write, read_json, write_text
from raat_core.validation import format_fraction
from raat_sweep.failures import Failures
from raat_sweep.item_models import Comparison, Table
from raat_sweep.plan import Plan
from raat_sweep.protocol import protocol_of

if TYPE_CHECKING:
    import pandas as pd

Description = dict[str, Any]


def product_names(plan: Plan, name: str) -> list[str]:
    """File names of an item's products, the one that users ask for first."""
    item = plan.config.items[name]
    if isinstance(item, Comparison):
        return [f"{name}.csv", f"{name}.claims.csv", f"{name}.md", f"{name}.html"]
    if isinstance(item, Table):
        return [f"{name}.csv", f"{name}.md", f"{name}.tex", f"{name}.cells.csv"]
    return [f"{name}.png", f"{name}.pdf", f"{name}.csv"]


def describe(plan: Plan, name: str) -> Description:
    """All that `build` needs to make an item, as plain data: it changes when the item must."""
    config, item = plan.config, plan.config.items[name]
    common: Description = {
        "kind": item.kind,
        "name": name,
        "results": config.results,
        "title": item.title,
        "source": item.source,
        "protocol": protocol_of(plan, name),
        "rows": plan.rows_of(name),
        "metrics": config.titles,
        "derived": {
            metric: entry.model_dump()
            for metric, entry in config.derived_among(_metrics_of(plan, name)).items()
        },
        "selection": config.selection.model_dump(mode="json"),
    }
    if isinstance(item, Comparison):
        return {**common, **_describe_comparison(plan, name, item)}
    common["checkpoint"] = item.checkpoint
    if isinstance(item, Table):
        cited = {"path": item.cited, "rows": plan.published_rows(name)} if item.cited else None
        metrics = {metric: config.titles[metric] for metric in item.metrics}
        return {**common, "metrics": metrics, "ours": list(item.ours), "cited": cited}
    common["metrics"]["robust"] = f"PGD-{config.selection.steps}"
    panels = {
        letter: panel.model_dump(mode="json", include={"title", "x", "x_label", "metrics"})
        for letter, panel in item.panels.items()
    }
    return {**common, "panels": panels}


def _metrics_of(plan: Plan, name: str) -> list[str]:
    """The metrics that an item shows, derived ones among them."""
    item = plan.config.items[name]
    if isinstance(item, Table):
        return list(item.metrics)
    if isinstance(item, Comparison):
        tables = (plan.config.items[table] for table in item.published)
        shown = [metric for t in tables if isinstance(t, Table) for metric in t.metrics]
        return [*shown, *(claim.metric for claim in item.claims)]
    return [metric for panel in item.panels.values() for metric in panel.metrics]


def _describe_comparison(plan: Plan, name: str, item: Comparison) -> Description:
    tables = {table: plan.config.items[table] for table in item.published}
    unmatched = plan.unmatched(name)
    return {
        "published": plan.published_rows(name),
        "tables": {
            table_name: {
                "title": table.title,
                "path": item.published[table_name],
                "metrics": list(table.metrics),
                "ours": list(table.ours),
                "unmatched": unmatched[table_name],
            }
            for table_name, table in tables.items()
            if isinstance(table, Table)
        },
        "claims": [claim.model_dump(mode="json") for claim in plan.claims_of(name)],
        "test": item.test,
        "level": item.level,
    }


def describe_cells(plan: Plan) -> Description:
    """As `describe`, for `cells.csv`."""
    summaries = [[cell, plan.attack_summary(cell, attacks)] for cell, attacks in plan.jobs]
    return {"kind": "cells", "results": plan.config.results, "summaries": summaries}


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
    from raat_sweep.measurements import derive, measure, measure_figure

    cells = results / "cells"
    if item["kind"] == "figure":
        from raat_sweep.figures import write_figure

        points = measure_figure(item["rows"], item["panels"], item["derived"], cells)
        _require_all(points, results, with_gaps)
        write_figure(points, item, results)
        return
    measured = measure(item["rows"], cells)
    _require_all(measured, results, with_gaps)
    measurements = derive(measured, item["derived"])
    if item["kind"] == "table":
        from raat_sweep.tables import write_table

        write_table(measurements, item, results)
    else:
        from raat_sweep.comparison import write_comparison

        write_comparison(measurements, item, results)


LOOKED_AFTER = "the same command, given again, looks after it"


def _require_all(measured: pd.DataFrame, results: Path, with_gaps: bool) -> None:
    lost = measured[measured["accuracy"].isna()]
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
        folder.require_whole_history()
    except UserError as error:
        return str(error)
    try:
        folder.read_manifest()
        if record:
            Record.read(folder.record(record))
    except UserError as error:
        return f"{error}; {LOOKED_AFTER}"
    return None


def forget(cell: CellFolder) -> None:
    """Remove what tells Snakemake that a cell is attacked, and if it is not trained, that it is.

    The commands find out for themselves what is left to do, and do no more.

    Raises:
        UserError: they cannot be removed.
    """
    kinds = ["attacked_*.json", "joined_*.json", "run_*.json"]
    if not cell.manifest.exists():
        kinds.append("trained.json")
    for path in (path for kind in kinds for path in cell.path.glob(kind)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error


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
        failures = Failures(cells.parent)
        for cell in dict.fromkeys(row["cell"] for row in missing):
            failure = failures.of(CellFolder(cells / cell))
            why = f": {failure.reason} (log: {failure.log})" if failure else ""
            print(f"  missing: {cell}{why}")


def _source(cells: Path, row: Mapping[str, Any]) -> Path:
    """The file that a row's number is read from."""
    folder = CellFolder(cells / row["cell"])
    return folder.history if row["record"] is None else folder.record(row["record"])


CELL_COLUMNS = (
    "dataset", "architecture", "norm", "epsilon", "method", "variant", "settings", "seed",
    "checkpoint", "epoch", "selection_split", "attack", "accuracy", "samples", "train_seconds",
    "attack_seconds", "cell", "record",
)  # fmt: skip


def write_cells(results: Path, summaries: Sequence[Sequence[str]]) -> None:
    """`cells.csv`: one row per cell and attack of all items, tidy.

    Args:
        results: the config's folder.
        summaries: (cell's name, name of the file that lists its attacks).

    Raises:
        UserError: a file is missing or damaged.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=CELL_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell, summary in summaries:
        writer.writerows(_cell_rows(CellFolder(results / "cells" / cell), summary))
    write_text(results / "cells.csv", text.getvalue())


def _cell_rows(folder: CellFolder, summary_name: str) -> list[dict[str, Any]]:
    cell, manifest = folder.read_cell(), folder.read_manifest()
    try:
        summary = read_json(folder.path / summary_name)
    except UserError as error:
        forget(folder)
        raise UserError(f"{error}; {LOOKED_AFTER}") from error
    settings = " ".join(f"{key}={value}" for key, value in cell.method.distinctive().items())
    return [
        {
            "dataset": cell.dataset,
            "architecture": cell.architecture,
            "norm": cell.threat_model.norm,
            "epsilon": format_fraction(cell.threat_model.epsilon),
            "method": cell.method.name,
            "variant": cell.method.variant,
            "settings": settings,
            "seed": cell.seed,
            "checkpoint": summary["checkpoint"],
            "epoch": summary["epoch"],
            "selection_split": cell.selection.split,
            "attack": attack["label"],
            "accuracy": attack["accuracy"],
            "samples": attack["samples"],
            "train_seconds": manifest["train_seconds"],
            "attack_seconds": attack["seconds"],
            "cell": folder.path.name,
            "record": attack["record"],
        }
        for attack in summary["attacks"]
    ]
