"""How figures look: fonts, and a colour, marker and line for each series.

Series differ in colour (Okabe and Ito's palette, safe for colour-blind readers), marker and line,
so that they can be told apart in grey too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.9,
    "legend.frameon": False,
    # Text in a PDF stays text, in a font type that publishers accept.
    "pdf.fonttype": 42,
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GREY = "0.4"


@dataclass(frozen=True)
class Style:
    """How a series looks."""

    colour: str
    marker: str
    line: Any


def styles_of(summary: pd.DataFrame) -> dict[str, Style]:
    """One style per series, the same in all panels; black for what has no name."""
    names = [str(name) for name in summary["series"].unique() if name]
    styles = {
        name: Style(
            COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)]
        )
        for index, name in enumerate(names)
    }
    return {"": Style("black", "o", "-"), **styles}
