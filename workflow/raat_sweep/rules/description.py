"""What a rule has to know of an item, as plain data: it changes when the item must."""

from __future__ import annotations

from typing import Any

from raat_core.cells.catalogue import DATA_SETS
from raat_sweep.comparison.readings import reading_of
from raat_sweep.config.items import Classes, Comparison, Table
from raat_sweep.plan.plan import Plan
from raat_sweep.plan.protocol import meanings, other_balls, protocol_of
from raat_sweep.plan.selections import best_in_short, robust_title

Description = dict[str, Any]


def product_names(plan: Plan, name: str) -> list[str]:
    """File names of an item's products, the one that users ask for first."""
    item = plan.config.items[name]
    if isinstance(item, Comparison):
        return [f"{name}.csv", f"{name}.claims.csv", f"{name}.md", f"{name}.html"]
    if isinstance(item, Table):
        return [f"{name}.csv", f"{name}.md", f"{name}.tex", f"{name}.cells.csv"]
    if isinstance(item, Classes):
        kinds = ("csv", "confusion.csv", "md", "cells.csv", "png", "pdf")
        return [f"{name}.{kind}" for kind in kinds]
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
        "rows": plan.items[name].rows,
        "metrics": config.titles,
        "derived": {
            metric: entry.model_dump()
            for metric, entry in config.derived_among(_metrics_of(plan, name)).items()
        },
        "selection": {
            "best": best_in_short(plan.items[name]),
            "split": " or ".join(
                sorted({c.selection.split for c in plan.items[name].cells if c.trains})
            ),
        },
    }
    if balls := other_balls(plan, name):
        common["balls"] = balls
    if meant := meanings(plan, name, _metrics_of(plan, name)):
        common["meanings"] = meant
    if needs := plan.needs_of(name):
        common["needs"] = needs
    if isinstance(item, Comparison):
        return {**common, **_describe_comparison(plan, name, item)}
    common["checkpoint"] = item.checkpoint
    if isinstance(item, Table):
        cited = {"path": item.cited, "rows": plan.cited_rows(name)} if item.cited else None
        metrics = {metric: config.titles[metric] for metric in item.metrics}
        return {**common, "metrics": metrics, "ours": list(item.ours), "cited": cited}
    if isinstance(item, Classes):
        return {**common, **_describe_classes(plan, name, item)}
    common["metrics"]["robust"] = robust_title(plan.items[name])
    panels = {
        letter: panel.model_dump(mode="json", include={"title", "x", "x_label", "metrics"})
        for letter, panel in item.panels.items()
    }
    return {**common, "panels": panels}


def _metrics_of(plan: Plan, name: str) -> list[str]:
    """The metrics that an item shows, derived ones among them."""
    item = plan.config.items[name]
    if isinstance(item, Table | Classes):
        return list(item.metrics)
    if isinstance(item, Comparison):
        tables = (plan.config.items[table] for table in item.published)
        shown = [metric for t in tables if isinstance(t, Table) for metric in t.metrics]
        return [*shown, *(claim.metric for claim in item.claims)]
    return [metric for panel in item.panels.values() for metric in panel.metrics]


def _describe_classes(plan: Plan, name: str, item: Classes) -> Description:
    config, cells = plan.config, plan.items[name].cells
    confusion = config.confused_in(item)
    return {
        "metrics": {metric: config.titles[metric] for metric in item.metrics},
        "confusion": {attack: config.titles[attack] for attack in confusion},
        # By title, as rows name their data set.
        "datasets": {
            DATA_SETS[cell.dataset].title: [cell.dataset, DATA_SETS[cell.dataset].classes]
            for cell in cells
        },
    }


def _describe_comparison(plan: Plan, name: str, item: Comparison) -> Description:
    config = plan.config
    tables = {table: config.items[table] for table in item.published}
    planned = plan.comparisons[name]
    return {
        "published": planned.published_rows,
        "tables": {
            table_name: {
                "title": table.title,
                "path": item.published[table_name],
                "metrics": list(table.metrics),
                "ours": list(table.ours),
                "unmatched": planned.tables[table_name].unmatched,
                "reading": reading_of(
                    (point.label, point.cell) for point in planned.tables[table_name].part.points
                ),
            }
            for table_name, table in tables.items()
            if isinstance(table, Table)
        },
        "claims": [claim.described(config) for claim in planned.claims],
        "test": item.test,
        "level": item.level,
    }


def describe_cells(plan: Plan) -> Description:
    """As `describe`, for `cells.csv`."""
    jobs = plan.jobs
    summaries = [[cell, jobs.summary_name(cell, attacks)] for cell, attacks in jobs.lists]
    return {"kind": "cells", "results": plan.config.results, "summaries": summaries}
