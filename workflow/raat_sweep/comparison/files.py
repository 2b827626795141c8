"""The files of a comparison: CSV, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from raat_core.files.atomic import write_text
from raat_sweep.comparison.blocks import to_html, to_markdown
from raat_sweep.comparison.claims import judge_claims
from raat_sweep.comparison.page import page_of
from raat_sweep.comparison.published import compare
from raat_sweep.numbers.formatting import to_csv
from raat_sweep.numbers.gaps import Footnotes
from raat_sweep.numbers.outcomes import Records


def write_comparison(
    measurements: pd.DataFrame,
    item: Mapping[str, Any],
    results: Path,
    records: Records,
    remarks: Footnotes = (),
) -> None:
    """Write `NAME.csv`, `NAME.claims.csv`, `NAME.md` and `NAME.html`; equal input, equal bytes.

    Args:
        measurements: what `measure` and `derive` made of `PlannedItem.rows`.
        item: `name`, `title`, `published` (from `PlannedComparison.published_rows`), `tables`
            (`title`, `path`, `ours`, `reading` by name), `claims`, `metrics` (metric: column
            title), `test`, `level`.
        results: the folder that the files are written to.
        records: that `measurements` were made of.
        remarks: what is to be known of its numbers, beside gaps.

    Raises:
        UserError: test images differ, or a file cannot be written.
    """
    compared = compare(measurements, item)
    claims = judge_claims(measurements, item, records)
    name = item["name"]
    write_text(results / f"{name}.csv", to_csv(compared, ".6g"))
    write_text(results / f"{name}.claims.csv", to_csv(claims, ".6g"))
    page = page_of(compared, claims, measurements, item, remarks)
    write_text(results / f"{name}.md", "\n".join(to_markdown(page)))
    write_text(results / f"{name}.html", "\n".join(to_html(page, item["title"])))
