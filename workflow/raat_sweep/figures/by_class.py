"""A figure of accuracies by class: beside them, which classes are taken for which."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raat_sweep.figures.files import save
from raat_sweep.figures.style import COLOURS, GREY, LINES, MARKERS, STYLE
from raat_sweep.numbers.by_class import ByClass, Confusion
from raat_sweep.numbers.formatting import in_place, method_of

WIDTH, HEAT_MAP, HEIGHT, LINE_HEIGHT = 4.2, 2.7, 2.6, 0.17
"""Inches: of axes of accuracies, of a heat map, of a row, of a line of the caption."""
CHARACTERS_PER_INCH = 16.5
MOST_NAMES, MOST_NUMBERS = 30, 10
"""Classes whose names stand at an axis, and whose shares stand in a heat map."""
LONGEST_LEVEL = 2
"""Characters of names that are not turned."""


def write_figure_of_classes(
    accuracies: Sequence[ByClass],
    confusions: Sequence[Confusion],
    item: Mapping[str, Any],
    results: Path,
) -> None:
    """Write `NAME.png` and `NAME.pdf`; equal input gives equal bytes.

    Args:
        accuracies: from `measure_classes`.
        confusions: from `measure_confusions`.
        item: `name`, `title`, `metrics` and `confusion` (title by metric), `checkpoint`.
        results: the folder that the files are written to.

    Raises:
        UserError: a file cannot be written.
    """
    with rc_context(STYLE):
        save(draw_classes(accuracies, confusions, item), item, results)


def draw_classes(
    accuracies: Sequence[ByClass], confusions: Sequence[Confusion], item: Mapping[str, Any]
) -> Figure:
    """A row of axes per row of the item: accuracies by class, and a heat map per attack.

    Fonts and lines are those of matplotlib's settings in force: draw and save it under `STYLE`.
    """
    titles, attacks = item["metrics"], item["confusion"]
    rows = [
        accuracies[start : start + len(titles)] for start in range(0, len(accuracies), len(titles))
    ]
    width = WIDTH + HEAT_MAP * len(attacks)
    caption = textwrap.wrap(_caption(item), int(width * CHARACTERS_PER_INCH))
    height = HEIGHT * len(rows) + LINE_HEIGHT * len(caption)
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.supxlabel("\n".join(caption), x=0.01, ha="left", fontsize=8, color=GREY)
    ratios = [WIDTH, *[HEAT_MAP] * len(attacks)]
    grid = figure.add_gridspec(len(rows), 1 + len(attacks), width_ratios=ratios)
    for index, of_row in enumerate(rows):
        axes = figure.add_subplot(grid[index, 0])
        _draw_accuracies(axes, of_row, titles)
        axes.set_title(f"{method_of(of_row[0].row)}: {in_place(of_row[0].row)}", loc="left")
        for column, each in enumerate(confusions[index * len(attacks) :][: len(attacks)]):
            heat_map = figure.add_subplot(grid[index, 1 + column])
            _draw_confusion(heat_map, each)
            heat_map.set_title(f"{attacks[each.metric]}: true × predicted (%)", loc="left")
    return figure


def _caption(item: Mapping[str, Any]) -> str:
    return (
        f"{item['title'].rstrip('.')}. Means over seeds, {item['checkpoint']} checkpoint; bars: ±1 "
        f"sample standard deviation. Heat maps: percent of the true class's images. Numbers, seeds "
        f"and images are in {item['name']}.csv and {item['name']}.confusion.csv."
    )


def _draw_accuracies(axes: Axes, of_row: Sequence[ByClass], titles: Mapping[str, str]) -> None:
    """Dots with bars at every class; where there are many classes, lines of sorted accuracies."""
    names = next((each.names for each in of_row if len(each.values)), of_row[0].names)
    for index, each in enumerate(of_row):
        label = titles[each.metric] if len(each.values) else f"{titles[each.metric]} (missing)"
        colour = COLOURS[index % len(COLOURS)]
        if len(names) > MOST_NAMES:
            line = LINES[index % len(LINES)]
            axes.plot(-np.sort(-each.mean), color=colour, linestyle=line, label=label)
            continue
        axes.errorbar(
            np.arange(len(names)) + 0.12 * (index - (len(of_row) - 1) / 2),
            each.mean,
            yerr=np.nan_to_num(each.std),
            color=colour,
            marker=MARKERS[index % len(MARKERS)],
            linestyle="none",
            markersize=3.5,
            elinewidth=0.8,
            label=label,
        )
    axes.set_ylim(-3, 103)
    axes.set_ylabel("Accuracy (%)")
    _name_classes(axes, names)
    # Beside the axes, where it covers no number.
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=2)


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    if len(names) > MOST_NAMES:
        axes.set_xlabel("classes, each line from its highest to its lowest")
        return
    long = max(map(len, names)) > LONGEST_LEVEL
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), names, **(turned if long else {}))
    if not long:
        axes.set_xlabel("class")


def _draw_confusion(axes: Axes, each: Confusion) -> None:
    mean = each.mean
    axes.imshow(mean, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if not len(each.values):
        axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", color=GREY)
    if len(each.names) <= MOST_NAMES:
        places = range(len(each.names))
        long = max(map(len, each.names)) > LONGEST_LEVEL
        axes.set_xticks(places, each.names, rotation=90 if long else 0, fontsize=6)
        axes.set_yticks(places, each.names, fontsize=6)
    if len(each.names) <= MOST_NUMBERS:
        for true, predicted in np.argwhere(mean >= 0.5).tolist():
            share = mean[true, predicted]
            colour = "white" if share > 60 else "black"
            text = f"{share:.0f}"
            axes.text(predicted, true, text, ha="center", va="center", fontsize=5, color=colour)
