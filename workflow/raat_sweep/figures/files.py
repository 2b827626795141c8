"""The files of a figure: PNG, PDF and CSV."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from raat_core.files.atomic import write_bytes, write_text
from raat_sweep.figures.figure import draw
from raat_sweep.figures.style import STYLE
from raat_sweep.figures.summary import summarise_figure
from raat_sweep.numbers.gaps import Footnotes


def write_figure(
    points: pd.DataFrame, item: Mapping[str, Any], results: Path, remarks: Footnotes = ()
) -> None:
    """Write `NAME.png`, `NAME.pdf` and `NAME.csv`; equal input gives equal bytes.

    Args:
        points: what `measure` or `curves` made of `PlannedItem.rows`.
        item: `name`, `title`, `panels` (letter: `title`, `x`, `x_label`, `metrics`), `metrics`
            (metric: title), `checkpoint`, `selection` (with `split`), and, where there is something
            to say, `balls` and `meanings`, a sentence each.
        results: the folder that the files are written to.
        remarks: what is to be known of its numbers; they stand in the caption.

    Raises:
        UserError: two metrics of a panel share a title, or a file cannot be written.
    """
    summary = summarise_figure(points)
    with rc_context(STYLE):
        figure = draw(summary, item, remarks)
        write_text(results / f"{item['name']}.csv", _csv(summary))
        save(figure, item, results)


def save(figure: Figure, item: Mapping[str, Any], results: Path) -> None:
    """Write `NAME.pdf` and `NAME.png`, under matplotlib's settings in force.

    Raises:
        UserError: a file cannot be written.
    """
    # Without dates and versions, equal figures are equal files.
    nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    png = _saved(figure, "png", dpi=200, metadata={"Software": None})
    pdf = _saved(figure, "pdf", metadata={**nothing, "Title": item["title"]})
    write_bytes(results / f"{item['name']}.pdf", pdf)
    write_bytes(results / f"{item['name']}.png", png)


def _saved(figure: Figure, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, **options)
    return buffer.getvalue()


def _csv(summary: pd.DataFrame) -> str:
    # `1` for an epoch and for a setting of 1.0, whatever type the column has become.
    x = [f"{x:g}" if isinstance(x, Real) and not math.isnan(x) else x for x in summary["x"]]
    plain = summary.assign(x=x)
    return plain.round({"mean": 4, "std": 4}).to_csv(index=False, lineterminator="\n")
