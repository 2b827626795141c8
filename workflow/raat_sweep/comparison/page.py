"""The page of a comparison: verdicts on claims, measured beside published numbers, and gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from raat_sweep.comparison.blocks import Block
from raat_sweep.comparison.published import GAIN
from raat_sweep.numbers.formatting import (
    GAP,
    in_place,
    method_of,
    records,
    rounded,
    signed,
    with_spread,
)
from raat_sweep.numbers.gaps import Footnotes, in_words, notes_on_gaps


def page_of(
    compared: pd.DataFrame,
    claims: pd.DataFrame,
    measurements: pd.DataFrame,
    item: Mapping[str, Any],
    remarks: Footnotes = (),
) -> list[Block]:
    """The page's blocks.

    Args:
        compared: from `compare`.
        claims: from `judge_claims`.
        measurements: what both are made of; it says why numbers are missing.
        item: as in `files.write_comparison`.
        remarks: what is to be known of its numbers, beside gaps.
    """
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
            *filter(None, [described["reading"]]),
            f"Published numbers: {described['path']}. Percent, mean ± sample standard deviation "
            f"over n seeds, of so many test images, while published numbers are of all, as a "
            f"rule. Difference: measured minus published; ✓ where mean ± std of both "
            f"overlap. {_tally(rows)} {_unmatched(described)}".rstrip(),
            _numbers_table(rows, item["metrics"]),
        ]
    page += _gaps(measurements, item["metrics"])
    for sentence, notes in remarks:
        if notes:
            page += ["## Remarks", sentence, *map(in_words, notes)]
    return page


def _gaps(measurements: pd.DataFrame, titles: Mapping[str, str]) -> list[Block]:
    """Why numbers are missing, as below a table."""
    once = measurements.drop_duplicates(["cell", "metric", "record"])
    notes = notes_on_gaps(once[once["metric"].isin(titles)], titles)
    return ["## Gaps", *map(in_words, notes)] if notes else []


def _unmatched(described: Mapping[str, Any]) -> str:
    count = described["unmatched"]
    return f"{count} published numbers are of cells that this sweep does not have." if count else ""


def _how_tested(item: Mapping[str, Any]) -> str:
    first, second = ("images", "seeds") if item["test"] == "samples" else ("seeds", "images")
    return (
        f"Paired t-tests of left minus right, over seeds and over test images (whose outcomes "
        f"are averaged over seeds); for a claimed equality, two one-sided tests against the "
        f"margin. Everything in a row is of the same test images, those that all cells of both "
        f"sides have. The verdict is by {first}, or by {second} where that test cannot be made, at "
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
    header = ["Claim", "Where", "Left", "Right", "Difference", "n", "Images"]
    header += ["p seeds", "p images", ""]
    rows = [
        [
            _claim(row["claim"], row["source"]),
            in_place(row),
            f"{row['left']}: {rounded(row['left_mean'])}",
            f"{row['right']}: {rounded(row['right_mean'])}",
            f"{signed(row['difference'])} {titles[row['metric']]}"
            + (f" (margin {row['margin']:g})" if not math.isnan(row["margin"]) else ""),
            _seeds(row),
            str(row["n_test"] or GAP),
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
    header = ["Where", "Method", "Metric", "Published", "Measured", "n", "Images"]
    header += ["Difference", ""]
    lines = []
    for row in records(rows):
        is_gain = row["method"] == GAIN
        lines.append(
            [
                in_place(row),
                method_of(row),
                titles[row["metric"]],
                with_spread(row["published_mean"], row["published_std"]),
                with_spread(row["mean"], row["std"]),
                "" if is_gain else str(int(row["n_seeds"])),
                "" if pd.isna(row["n_test"]) else str(int(row["n_test"])),
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


def _probability(p: float) -> str:
    if math.isnan(p):
        return GAP
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
