"""Measured against published numbers, and claims with their tests: CSV, Markdown and HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raat_core.cells.threat_model import NORM_SYMBOLS
from raat_core.files.atomic import write_text
from raat_sweep.comparison.claims import Outcome, judge
from raat_sweep.numbers.accuracies import summarise
from raat_sweep.numbers.derived import derived_means
from raat_sweep.numbers.formatting import (
    GAP,
    PLACE,
    markdown_text,
    records,
    rounded,
    signed,
    to_csv,
    with_spread,
)
from raat_sweep.numbers.improvement import improvement
from raat_sweep.tables.layout import Note, notes_on_gaps

NUMBERS = [
    "published_mean", "published_std", "mean", "std", "n_seeds", "difference", "within_spread",
]  # fmt: skip
GAIN = "↑ (%)"


def write_comparison(measurements: pd.DataFrame, item: Mapping[str, Any], results: Path) -> None:
    """Write `NAME.csv`, `NAME.claims.csv`, `NAME.md` and `NAME.html`; equal input, equal bytes.

    Args:
        measurements: what `measure` and `derive` made of `PlannedItem.rows`.
        item: `name`, `title`, `published` (from `PlannedComparison.published_rows`), `tables`
            (`title`, `path`, `ours` by name), `claims`, `metrics` (metric: column title), `test`,
            `level`.
        results: the folder that the files are written to.

    Raises:
        UserError: test images differ, or a file cannot be written.
    """
    compared = compare(measurements, item)
    claims = judge_claims(measurements, item, results / "cells")
    name = item["name"]
    write_text(results / f"{name}.csv", to_csv(compared, ".6g"))
    write_text(results / f"{name}.claims.csv", to_csv(claims, ".6g"))
    page = _page(compared, claims, measurements, item)
    write_text(results / f"{name}.md", "\n".join(_markdown(page)))
    write_text(results / f"{name}.html", "\n".join(_html(page, item["title"])))


def compare(measurements: pd.DataFrame, item: Mapping[str, Any]) -> pd.DataFrame:
    """One row per published number of a cell that the sweep has.

    Columns `table`, data set, architecture, ball, method, variant, metric, `published_mean` and
    `published_std`, `mean` and `std` over `n_seeds` seeds, `difference` (ours minus published,
    percentage points) and `within_spread`: whether the intervals mean ± std of both overlap, a
    missing std counting as 0; empty without our mean. Rows of the method `↑ (%)` hold the best of
    `ours` over the best of the others in percent, computed from the means on either side.
    """
    columns = ["table", *PLACE, "method", "variant", "metric", *NUMBERS]
    rows = [
        {"table": table, **row}
        for table in item["tables"]
        for row in _compare_table(measurements[measurements["part"] == table], table, item)
    ]
    return pd.DataFrame(rows, columns=columns)


def _compare_table(
    measurements: pd.DataFrame, table: str, item: Mapping[str, Any]
) -> list[dict[str, Any]]:
    described = item["tables"][table]
    published = _with_derived(
        [row for row in item["published"] if row["part"] == table],
        {
            metric: item["derived"][metric]
            for metric in described["metrics"]
            if metric in item["derived"]
        },
    )
    if not published:
        return []
    metrics = list(dict.fromkeys(row["metric"] for row in published))
    summary = summarise(measurements, metrics)
    ours = {(*_place(row), row["method"], row["variant"]): row for row in records(summary)}
    rows = [
        _compared(row, ours[(*_place(row), row["method"], row["variant"])]) for row in published
    ]
    if described["ours"]:
        rows += _gains(published, summary, metrics, described["ours"])
    return rows


def _with_derived(
    published: Sequence[dict[str, Any]], derived: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Published numbers, and behind those of each row of a table what follows from their means.

    What is published itself is not derived.
    """
    by_row: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for number in published:
        key = (*_place(number), number["method"], number["variant"])
        by_row.setdefault(key, []).append(number)
    rows = []
    for numbers in by_row.values():
        means = {number["metric"]: number["mean"] for number in numbers}
        rows += numbers
        rows += [
            {**numbers[0], "metric": metric, "mean": mean, "std": math.nan}
            for metric, mean in derived_means(means, derived).items()
            if metric not in means
        ]
    return rows


def _compared(published: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    metric = published["metric"]
    mean, std = ours[f"{metric}_mean"], ours[f"{metric}_std"]
    difference = mean - published["mean"]
    spread = sum(value for value in (published["std"], std) if not math.isnan(value))
    return {
        **{key: published[key] for key in (*PLACE, "method", "variant", "metric")},
        "published_mean": published["mean"],
        "published_std": published["std"],
        "mean": mean,
        "std": std,
        "n_seeds": ours[f"{metric}_seeds"],
        "difference": difference,
        "within_spread": None if math.isnan(difference) else abs(difference) <= spread,
    }


def _gains(
    published: Sequence[Mapping[str, Any]],
    summary: pd.DataFrame,
    metrics: Sequence[str],
    ours: Sequence[str],
) -> list[dict[str, Any]]:
    """The ↑ row of the paper's tables from the published means, and from ours.

    Without one of the methods the best of the others is not known: ours is missing then.
    """
    wide: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in published:
        place = dict(zip((*PLACE, "method"), (*_place(row), row["method"]), strict=True))
        wide.setdefault(tuple(place.values()), {**place})[f"{row['metric']}_mean"] = row["mean"]
    published_gains = improvement(pd.DataFrame(wide.values()), metrics, ours)
    own_gains = improvement(summary, metrics, ours, require_all=True)
    measured = {_place(row): row for row in records(own_gains)}
    rows = []
    for theirs in records(published_gains):
        own = measured[_place(theirs)]
        rows += [
            {
                **dict(zip(PLACE, _place(theirs), strict=True)),
                "method": GAIN,
                "variant": "",
                "metric": metric,
                "published_mean": theirs[metric],
                "mean": own[metric],
                "difference": own[metric] - theirs[metric],
            }
            for metric in metrics
        ]
    return rows


def judge_claims(measurements: pd.DataFrame, item: Mapping[str, Any], cells: Path) -> pd.DataFrame:
    """One row per claim, data set, architecture and ball."""
    rows = []
    for index, claim in enumerate(item["claims"]):
        of_claim = measurements[measurements["part"] == str(index)]
        for outcome in judge(claim, of_claim, cells, item["test"], item["level"]):
            rows.append(_claim_row(claim, outcome))
    return pd.DataFrame(rows, columns=_CLAIM_COLUMNS)


_CLAIM_COLUMNS = [
    "claim", "source", *PLACE, "metric", "left", "right", "margin", "left_mean", "right_mean",
    "difference", "n_seeds", "n_seeds_planned", "p_seeds", "p_samples", "decided_by", "verdict",
]  # fmt: skip


def _claim_row(claim: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    return {
        **{key: claim[key] for key in ("claim", "source", "metric")},
        **outcome.place,
        "left": outcome.left,
        "right": outcome.right,
        "margin": claim["margin"] or math.nan,
        "left_mean": outcome.left_mean,
        "right_mean": outcome.right_mean,
        "difference": outcome.difference,
        "n_seeds": outcome.seeds,
        "n_seeds_planned": outcome.planned,
        "p_seeds": outcome.p_seeds,
        "p_samples": outcome.p_samples,
        "decided_by": outcome.decided_by,
        "verdict": outcome.verdict,
    }


Block = str | tuple[list[str], list[list[str]]]
"""A heading (`# ...`), a paragraph, or a table: its header and its rows."""


def _page(
    compared: pd.DataFrame,
    claims: pd.DataFrame,
    measurements: pd.DataFrame,
    item: Mapping[str, Any],
) -> list[Block]:
    page: list[Block] = [f"# {item['title']}"]
    if item["claims"]:
        page += ["## Claims", _how_tested(item), _verdicts(claims)]
        page += [
            "### Every data set, architecture and ball",
            _claims_table(claims, item["metrics"]),
        ]
    for table, described in item["tables"].items():
        rows = compared[compared["table"] == table]
        page += [
            f"## {described['title'].rstrip('.')}",
            f"Published numbers: {described['path']}. Percent, mean ± sample standard deviation "
            f"over n seeds. Difference: measured minus published; ✓ where mean ± std of both "
            f"overlap. {_tally(rows)} {_unmatched(described)}".rstrip(),
            _numbers_table(rows, item["metrics"]),
        ]
    return page + _gaps(measurements, item["metrics"])


def _gaps(measurements: pd.DataFrame, titles: Mapping[str, str]) -> list[Block]:
    """Why numbers are missing, as below a table."""
    once = measurements.drop_duplicates(["cell", "metric", "record"])
    notes = notes_on_gaps(once[once["metric"].isin(titles)], titles)
    return ["## Gaps", *map(_note, notes)] if notes else []


def _note(note: Note) -> str:
    cells = (
        f"{cell}{detail}" + (f", log {log}" if log else "") for cell, detail, log in note.cells
    )
    return f"{note.reason}: {'; '.join(cells)}"


def _unmatched(described: Mapping[str, Any]) -> str:
    count = described["unmatched"]
    return f"{count} published numbers are of cells that this sweep does not have." if count else ""


def _how_tested(item: Mapping[str, Any]) -> str:
    first, second = ("images", "seeds") if item["test"] == "samples" else ("seeds", "images")
    return (
        f"Paired t-tests of left minus right, over seeds and over test images (whose outcomes "
        f"are averaged over seeds); for a claimed equality, two one-sided tests against the "
        f"margin. The verdict is by {first}, or by {second} where that test cannot be made, at "
        f"{item['level']:g}: held, if the difference is as claimed and significant; not held, if "
        f"it is the other way round (or beyond the margin) and significant. By images it is about "
        f"these trained models on images like these, by seeds about the methods. Where a side "
        f"names several rows, the one with the highest mean was taken, which favours it."
    )


VERDICTS = ("held", "undecided", "not held", "not measured")


def _verdicts(claims: pd.DataFrame) -> Block:
    """A line per claim: how often it held where it was tested, and by how much."""
    header = ["Claim", *(verdict.capitalize() for verdict in VERDICTS), "Difference"]
    rows = []
    for (claim, source), tested in claims.groupby(["claim", "source"], sort=False):
        counts = [sum(v.startswith(verdict) for v in tested["verdict"]) for verdict in VERDICTS]
        low, high = tested["difference"].min(), tested["difference"].max()
        span = signed(low) if low == high or math.isnan(low) else f"{signed(low)} to {signed(high)}"
        rows.append([_claim(claim, source), *(str(count or "") for count in counts), span])
    return header, rows


def _claim(claim: object, source: object) -> str:
    return f"{claim} ({source})" if source else str(claim)


def _claims_table(claims: pd.DataFrame, titles: Mapping[str, str]) -> Block:
    header = ["Claim", "Where", "Left", "Right", "Difference", "n", "p seeds", "p images", ""]
    rows = [
        [
            _claim(row["claim"], row["source"]),
            _where(row),
            f"{row['left']}: {rounded(row['left_mean'])}",
            f"{row['right']}: {rounded(row['right_mean'])}",
            f"{signed(row['difference'])} {titles[row['metric']]}"
            + (f" (margin {row['margin']:g})" if not math.isnan(row["margin"]) else ""),
            _seeds(row),
            _probability(row["p_seeds"]),
            _probability(row["p_samples"]),
            _decided(row),
        ]
        for row in records(claims)
    ]
    return header, rows


def _seeds(row: Mapping[str, Any]) -> str:
    whole = row["n_seeds"] == row["n_seeds_planned"]
    return f"{row['n_seeds']}" if whole else f"{row['n_seeds']} of {row['n_seeds_planned']}"


def _decided(row: Mapping[str, Any]) -> str:
    decides = row["verdict"] in ("held", "not held")
    return f"{row['verdict']}, by {row['decided_by']}" if decides else str(row["verdict"])


def _numbers_table(rows: pd.DataFrame, titles: Mapping[str, str]) -> Block:
    header = ["Where", "Method", "Metric", "Published", "Measured", "n", "Difference", ""]
    lines = []
    for row in records(rows):
        is_gain = row["method"] == GAIN
        variant = f" ({row['variant']})" if row["variant"] not in ("", "paper") else ""
        lines.append(
            [
                _where(row),
                f"{row['method']}{variant}",
                titles[row["metric"]],
                with_spread(row["published_mean"], row["published_std"]),
                with_spread(row["mean"], row["std"]),
                "" if is_gain else str(int(row["n_seeds"])),
                signed(row["difference"]),
                "✓" if row["within_spread"] is True else "",
            ]
        )
    return header, lines


def _tally(rows: pd.DataFrame) -> str:
    numbers = rows[rows["method"] != GAIN]
    measured = numbers[numbers["mean"].notna()]
    within = int((measured["within_spread"] == True).sum())  # noqa: E712 (the column has None)
    return (
        f"{len(measured)} of {len(numbers)} numbers are measured, {within} of them within the "
        f"spread of both."
    )


def _heading_level(block: str) -> int:
    """0 for a paragraph."""
    return len(block) - len(block.lstrip("#")) if block.lstrip("#").startswith(" ") else 0


def _markdown(page: Iterable[Block]) -> list[str]:
    lines: list[str] = []
    for block in page:
        if isinstance(block, str):
            level = _heading_level(block)
            lines += [f"{block[:level]} {markdown_text(block[level:].strip())}".lstrip(), ""]
            continue
        header, rows = block
        lines += [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
        lines += [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
        lines.append("")
    return lines


_STYLE = (
    "body{font:14px/1.4 sans-serif;margin:2em;max-width:75em}"
    "table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;"
    "text-align:left}th{border-bottom:2px solid #888}"
)


def _html(page: Iterable[Block], title: str) -> list[str]:
    """One self-contained page for Snakemake's report."""
    lines = [
        f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style>",
    ]
    for block in page:
        if isinstance(block, str):
            level = _heading_level(block)
            tag = f"h{level}" if level else "p"
            lines.append(f"<{tag}>{html.escape(block[level:].strip())}</{tag}>")
            continue
        header, rows = block
        lines += ["<table>", _html_row("th", header)]
        lines += [_html_row("td", row) for row in rows]
        lines.append("</table>")
    return [*lines, ""]


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in PLACE)


def _where(row: Mapping[str, Any]) -> str:
    ball = f"{NORM_SYMBOLS.get(row['norm'], row['norm'])} {row['epsilon']}"
    return f"{row['dataset']}, {row['architecture']}, {ball}"


def _probability(p: float) -> str:
    if math.isnan(p):
        return GAP
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
