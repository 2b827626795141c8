"""Figures laid out as Figures 2 and 5 of the paper; gaps stay visible.

A column of axes per panel, a row per metric.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from raat_core.errors import UserError
from raat_sweep.figures.axes import Scale, draw_points
from raat_sweep.figures.style import GREY, Style, styles_of
from raat_sweep.numbers.distances import is_distance
from raat_sweep.numbers.gaps import Footnotes, in_a_caption

COLUMN_WIDTH, ROW_HEIGHT, LINE_HEIGHT = 2.4, 2.1, 0.17
"""Inches; a line is one of the legend or of the caption."""
CHARACTERS_PER_INCH = 16.5
"""Of the caption, at 8 points, roughly."""


def draw(summary: pd.DataFrame, item: Mapping[str, Any], remarks: Footnotes = ()) -> Figure:
    """The figure; its last lines say what it shows and how gaps are marked.

    Fonts and lines are those of matplotlib's settings in force: draw and save it under `STYLE`.

    Args:
        summary: from `summarise_figure`.
        item: as in `files.write_figure`.
        remarks: as there.

    Raises:
        UserError: two metrics of a panel share a title, so that they would share axes.
    """
    panels, rows = item["panels"], _rows_of_axes(item["panels"], item["metrics"])
    lowest = {letter: title for title, metrics in rows.items() for letter in metrics}
    styles = styles_of(summary)
    legends = [_legend(summary[summary["panel"] == letter], styles) for letter in panels]
    figure, grid = _canvas(len(rows), legends, _caption(summary, item, remarks))
    letters = iter(ascii_lowercase)
    for index, (title, metrics) in enumerate(rows.items()):
        for column, (letter, panel) in enumerate(panels.items()):
            if letter not in metrics:
                continue
            axes = figure.add_subplot(grid[index, column])
            of_panel = summary[summary["panel"] == letter]
            points = of_panel[of_panel["metric"] == metrics[letter]]
            draw_points(axes, points, Scale.of(of_panel["x"], panel["x"]), styles)
            axes.set_title(f"({next(letters)}) {panel['title']}", loc="left")
            if letter == next(iter(metrics)):
                in_levels = is_distance(metrics[letter], item.get("derived", {}))
                axes.set_ylabel(title if in_levels else _accuracy_label(title))
            if title == lowest[letter]:
                axes.set_xlabel(panel["x_label"])
    for column, entries in enumerate(legends):
        _draw_legend(figure.add_subplot(grid[len(rows), column]), entries)
    return figure


def _rows_of_axes(
    panels: Mapping[str, Any], titles: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Title of each row of axes, and which metric each panel has there.

    Metrics of one title share a row: PGD-10 over epochs stands beside PGD-10 of the checkpoint.
    """
    rows: dict[str, dict[str, str]] = {}
    for letter, panel in panels.items():
        for metric in panel["metrics"]:
            row = rows.setdefault(titles[metric], {})
            if letter in row:
                raise UserError(
                    f"panel {letter}: '{row[letter]}' and '{metric}' are both titled "
                    f"'{titles[metric]}'; give them titles of their own in `attacks`"
                )
            row[letter] = metric
    return rows


def _canvas(
    rows: int, legends: Sequence[Sequence[Line2D]], caption: str
) -> tuple[Figure, GridSpec]:
    """An empty figure with its caption, and a grid: `rows` of axes and one of legends."""
    columns = len(legends)
    width = COLUMN_WIDTH * max(columns, 1.4)
    lines = textwrap.wrap(caption, int(width * CHARACTERS_PER_INCH))
    legend_lines = max(math.ceil(len(entries) / _legend_columns(entries)) for entries in legends)
    heights = [*[ROW_HEIGHT] * rows, max(legend_lines, 0.1) * LINE_HEIGHT]
    figure = Figure((width, sum(heights) + len(lines) * LINE_HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=GREY)
    return figure, figure.add_gridspec(rows + 1, columns, height_ratios=heights)


def _accuracy_label(title: str) -> str:
    return "Clean accuracy (%)" if title == "Clean" else f"Robust accuracy ({title}, %)"


def _legend(panel: pd.DataFrame, styles: Mapping[str, Style]) -> list[Line2D]:
    """A handle per named series; one without any value says so."""
    handles = []
    for name, line in panel[panel["series"] != ""].groupby("series", sort=False):
        style, label = styles[str(name)], str(name)
        if line["mean"].isna().all():
            label += " (missing)"
        look = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
        handles.append(Line2D([], [], label=label, **look))
    return handles


def _legend_columns(handles: Sequence[Line2D]) -> int:
    return 2 if max((len(str(handle.get_label())) for handle in handles), default=0) <= 10 else 1


def _draw_legend(axes: Axes, handles: Sequence[Line2D]) -> None:
    axes.set_axis_off()
    if handles:
        axes.legend(
            handles=handles,
            loc="upper center",
            ncols=_legend_columns(handles),
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.25,
            columnspacing=1.2,
            handlelength=3,
        )


def _caption(summary: pd.DataFrame, item: Mapping[str, Any], remarks: Footnotes) -> str:
    sentences = [item["title"].rstrip("."), _seeds_sentence(summary)]
    measured = summary.dropna(subset="mean")
    epochs = {letter for letter, panel in item["panels"].items() if panel["x"] == "epoch"}
    is_curve = measured["panel"].isin(epochs)
    if is_curve.any():
        starts = "" if is_curve.all() else ", attacked from other random starts than other panels"
        split = item["selection"]["split"]
        sentences.append(f"Curves over epochs: accuracy on the {split} split{starts}")
    over_distance = {x for x, panel in item["panels"].items() if panel["x"] == "distance"}
    if measured["panel"].isin(over_distance).any():
        sentences.append(
            "Curves over distance: the share of test images for which the attack found no "
            "misclassified image within it"
        )
    if not is_curve.all():
        images = _images(measured[~is_curve], item["metrics"])
        start = "Other panels" if is_curve.any() else "Points"
        sentences.append(f"{start}: {item['checkpoint']} checkpoint, {images}")
    sentences += [item[key] for key in ("balls", "meanings") if item.get(key)]
    if (measured["n_seeds"] < measured["n_seeds_planned"]).any():
        sentences.append("Hollow markers: fewer seeds than planned")
    if len(measured) < len(summary):
        sentences.append(f"×: no value, for the reasons in {item['name']}.csv")
    sentences += [in_a_caption(sentence, notes) for sentence, notes in remarks if notes]
    return ". ".join(sentences) + "."


def _seeds_sentence(summary: pd.DataFrame) -> str:
    low, high = summary["n_seeds_planned"].min(), summary["n_seeds_planned"].max()
    if high == 1:
        return "n = 1 seed, without standard deviation"
    seeds = f"n = {high}" if low == high else f"n = {low} to {high}"
    return f"Mean over {seeds} seeds; bands and bars: ±1 sample standard deviation"


def _images(measured: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """`360 test images`, or `Clean on 360, AA on 60 test images`."""
    sizes = {titles[str(m)]: rows["samples"].max() for m, rows in measured.groupby("metric")}
    if len(set(sizes.values())) == 1:
        return f"{next(iter(sizes.values()))} test images"
    return ", ".join(f"{title} on {size}" for title, size in sizes.items()) + " test images"
