"""Figures laid out as Figures 2 and 5 of the paper, as PNG, PDF and CSV; gaps stay visible.

A column of axes per panel, a row per metric. Series differ in colour (Okabe and Ito's palette,
safe for colour-blind readers), marker and line, so that they can be told apart in grey too.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from raat_core.errors import UserError
from raat_core.files.atomic import write_bytes, write_text

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
LOG_SPAN = 10
"""Settings whose largest value is this many times the smallest, or more, get a log axis."""
CATEGORY_CHARACTERS = 22
"""What fits under an axis; longer names of categories are turned."""
COLUMN_WIDTH, ROW_HEIGHT, LINE_HEIGHT = 2.4, 2.1, 0.17
"""Inches; a line is one of the legend or of the caption."""
CHARACTERS_PER_INCH = 16.5
"""Of the caption, at 8 points, roughly."""
MARKERS_PER_CURVE = 8
MOST_TICKS, LABEL_DISTANCE = 12, 0.12
"""Settings stand at ticks of their own if they are few, with labels at this part of the axis."""
LINE = ["panel", "series", "metric"]
STATISTICS = ["mean", "std", "n_seeds", "n_seeds_planned", "samples", "gap"]


def write_figure(points: pd.DataFrame, item: Mapping[str, Any], results: Path) -> None:
    """Write `NAME.png`, `NAME.pdf` and `NAME.csv`; equal input gives equal bytes.

    Args:
        points: what `measure` or `curves` made of `PlannedItem.rows`.
        item: `name`, `title`, `panels` (letter: `title`, `x`, `x_label`, `metrics`), `metrics`
            (metric: title), `checkpoint`, and `selection` (with `split`).
        results: the folder that the files are written to.

    Raises:
        UserError: two metrics of a panel share a title, or a file cannot be written.
    """
    summary = summarise_figure(points)
    with rc_context(STYLE):
        figure = draw(summary, item)
        # Without dates and versions, equal figures are equal files.
        nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        png = _saved(figure, "png", dpi=200, metadata={"Software": None})
        pdf = _saved(figure, "pdf", metadata={**nothing, "Title": item["title"]})
    name = item["name"]
    write_text(results / f"{name}.csv", _csv(summary))
    write_bytes(results / f"{name}.pdf", pdf)
    write_bytes(results / f"{name}.png", png)


def summarise_figure(points: pd.DataFrame) -> pd.DataFrame:
    """One row per panel, series, x and metric, as they first appear, over seeds with a value.

    Columns `panel`, `series`, `x`, `metric`, `mean` and `std` (sample standard deviation; missing
    with one seed) in percent, `n_seeds`, `n_seeds_planned`, `samples` (test images; missing for
    curves over epochs), and `gap`, the reasons why seeds have no value.
    """
    summary = pd.DataFrame(
        [
            {**dict(zip(LINE, key, strict=True)), **row}
            for key, line in points.groupby(LINE, sort=False)
            for row in _line_rows(line)
        ]
    )
    return summary[["panel", "series", "x", "metric", *STATISTICS]].astype({"samples": "Int64"})


def _line_rows(line: pd.DataFrame) -> list[dict[str, Any]]:
    """Statistics of one line at each x.

    A seed without history has no epochs: it counts as missing at every epoch of the others.
    """
    is_curve = line["record"].isna().all()
    nowhere = line[line["x"].isna()]
    if is_curve and len(nowhere) < len(line):
        reasons = list(nowhere["gap"])
        seeds = line["seed"].nunique()
        placed = line[line["x"].notna()]
        groups = placed.groupby("x", sort=False)
        return [{"x": x, **_statistics(here, seeds, reasons)} for x, here in groups]
    groups = line.groupby("x", sort=False, dropna=False)
    return [{"x": x, **_statistics(here, here["seed"].nunique(), [])} for x, here in groups]


def _statistics(here: pd.DataFrame, planned: int, reasons: Sequence[str]) -> dict[str, Any]:
    measured = here[here["accuracy"].notna()]
    known = [reason for reason in dict.fromkeys([*here["gap"], *reasons]) if reason]
    incomplete = len(measured) < planned
    samples = measured["samples"].max() if "samples" in measured else math.nan
    return {
        "mean": measured["accuracy"].mean(),
        "std": measured["accuracy"].std(ddof=1),
        "n_seeds": len(measured),
        "n_seeds_planned": planned,
        "samples": pd.NA if pd.isna(samples) else int(samples),
        "gap": "; ".join(known or ["not evaluated"]) if incomplete else "",
    }


@dataclass(frozen=True)
class Style:
    """How a series looks."""

    colour: str
    marker: str
    line: Any


def draw(summary: pd.DataFrame, item: Mapping[str, Any]) -> Figure:
    """The figure; its last lines say what it shows and how gaps are marked.

    Fonts and lines are those of matplotlib's settings in force: draw and save it under `STYLE`.

    Args:
        summary: from `summarise_figure`.
        item: as in `write_figure`.

    Raises:
        UserError: two metrics of a panel share a title, so that they would share axes.
    """
    panels, rows = item["panels"], _rows_of_axes(item["panels"], item["metrics"])
    lowest = {letter: title for title, metrics in rows.items() for letter in metrics}
    styles = _styles(summary)
    legends = [_legend(summary[summary["panel"] == letter], styles) for letter in panels]
    figure, grid = _canvas(len(rows), legends, _caption(summary, item))
    letters = iter(ascii_lowercase)
    for index, (title, metrics) in enumerate(rows.items()):
        for column, (letter, panel) in enumerate(panels.items()):
            if letter not in metrics:
                continue
            axes = figure.add_subplot(grid[index, column])
            of_panel = summary[summary["panel"] == letter]
            points = of_panel[of_panel["metric"] == metrics[letter]]
            _draw_points(axes, points, _Scale.of(of_panel["x"], panel["x"] == "epoch"), styles)
            axes.set_title(f"({next(letters)}) {panel['title']}", loc="left")
            if letter == next(iter(metrics)):
                axes.set_ylabel(_accuracy_label(title))
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


def _styles(summary: pd.DataFrame) -> dict[str, Style]:
    """One style per series, the same in all panels; black for what has no name."""
    names = [str(name) for name in summary["series"].unique() if name]
    styles = {
        name: Style(
            COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)]
        )
        for index, name in enumerate(names)
    }
    return {"": Style("black", "o", "-"), **styles}


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


@dataclass(frozen=True)
class _Scale:
    """The x axis of a panel: numbers, or categories at 0, 1, ..."""

    positions: dict[Any, float]
    is_numeric: bool
    is_epoch: bool

    @classmethod
    def of(cls, values: pd.Series[Any], is_epoch: bool) -> _Scale:
        """The scale that holds all `values`; missing ones have no place."""
        known = list(dict.fromkeys(values.dropna()))
        if all(isinstance(value, Real) and not isinstance(value, bool) for value in known):
            return cls({value: float(value) for value in known}, True, is_epoch)
        return cls({value: float(index) for index, value in enumerate(known)}, False, False)

    @property
    def is_log(self) -> bool:
        """Settings over a wide range, all positive; epochs are always linear."""
        places = self.positions.values()
        if self.is_epoch or not self.is_numeric or not places or min(places) <= 0:
            return False
        return max(places) >= LOG_SPAN * min(places)


def _draw_points(
    axes: Axes, points: pd.DataFrame, scale: _Scale, styles: Mapping[str, Style]
) -> None:
    """All series of one panel and metric, with marks where there is no value."""
    groups = list(points.groupby("series", sort=False))
    for index, (name, line) in enumerate(groups):
        places = line["x"].map(scale.positions).astype(float)
        if not scale.is_numeric:
            places += 0.12 * (index - (len(groups) - 1) / 2)
        placed = line.assign(place=places).sort_values("place")
        if placed["place"].isna().all():
            _draw_level(axes, placed, styles[str(name)])
        elif scale.is_numeric:
            shift = index / len(groups)
            _draw_line(axes, placed, styles[str(name)], shift if scale.is_epoch else None)
        else:
            _draw_categories(axes, placed, styles[str(name)])
    _set_x_axis(axes, scale)
    if points["mean"].isna().any():
        _mark_missing(axes, points, scale)


def _draw_line(axes: Axes, line: pd.DataFrame, style: Style, shift: float | None) -> None:
    """Means joined by a line, and a band; the line breaks at gaps.

    Args:
        axes: where to.
        line: columns `place`, `mean`, `std`, `n_seeds`, `n_seeds_planned`, sorted by place.
        style: how the series looks.
        shift: for curves of many points, markers stand on a few of them, shifted by this part of
            their distance so that series do not cover each other's; None: a marker on each.
    """
    step = 1 if shift is None else max(1, len(line) // MARKERS_PER_CURVE)
    every = (int((shift or 0) * step), step)
    low, high = line["mean"] - line["std"], line["mean"] + line["std"]
    axes.fill_between(line["place"], low, high, color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(
        line["place"],
        line["mean"],
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markevery=every,
    )
    _hollow_partial(axes, line.iloc[every[0] :: step], style)


def _draw_level(axes: Axes, line: pd.DataFrame, style: Style) -> None:
    """A horizontal line: the series does not have the setting that is on the x axis."""
    for mean, std in line[["mean", "std"]].dropna(subset="mean").to_numpy():
        axes.axhline(mean, color=style.colour, linestyle=style.line)
        if not math.isnan(std):
            axes.axhspan(mean - std, mean + std, color=style.colour, alpha=0.18, linewidth=0)


def _draw_categories(axes: Axes, line: pd.DataFrame, style: Style) -> None:
    """Means as dots with error bars, not joined: categories have no order."""
    axes.errorbar(
        line["place"],
        line["mean"],
        yerr=line["std"].fillna(0),
        color=style.colour,
        linestyle="none",
        marker=style.marker,
        capsize=3,
        elinewidth=1,
    )
    _hollow_partial(axes, line, style)


def _hollow_partial(axes: Axes, line: pd.DataFrame, style: Style) -> None:
    partial = line[line["n_seeds"].between(1, line["n_seeds_planned"] - 1)]
    axes.plot(
        partial["place"],
        partial["mean"],
        color=style.colour,
        linestyle="none",
        marker=style.marker,
        markerfacecolor="white",
    )


def _mark_missing(axes: Axes, points: pd.DataFrame, scale: _Scale) -> None:
    """A grey × at the foot of the axes for each missing point, and how many there are."""
    if points["mean"].isna().all():
        axes.set_ylim(0, 1)
        axes.set_yticks([])
    # Room below the data, so that the marks cover none of it.
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.22 * (high - low), high)
    missing = points[points["mean"].isna()]
    axes.plot(
        missing["x"].map(scale.positions).astype(float),
        [0.05] * len(missing),
        transform=axes.get_xaxis_transform(),
        linestyle="none",
        marker="x",
        color=GREY,
    )
    note = f"{len(missing)} missing"
    axes.text(0.98, 0.10, note, transform=axes.transAxes, ha="right", color=GREY)


def _set_x_axis(axes: Axes, scale: _Scale) -> None:
    places = list(scale.positions.values())
    if not places:
        axes.set_xticks([])
    elif not scale.is_numeric:
        names = [str(value) for value in scale.positions]
        is_long = max(map(len, names)) * len(names) > CATEGORY_CHARACTERS
        turned: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(places, names, **(turned if is_long else {}))
        axes.set_xlim(-0.5, len(places) - 0.5)
    elif scale.is_epoch:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    else:
        if scale.is_log:
            axes.set_xscale("log")
        if len(places) <= MOST_TICKS:
            axes.set_xticks(places, _tick_labels(places, math.log if scale.is_log else float))
            axes.minorticks_off()


def _tick_labels(places: Sequence[float], transform: Callable[[float], float]) -> list[str]:
    """A number at each place, but none where it would run into the one before."""
    distance = LABEL_DISTANCE * (transform(max(places)) - transform(min(places)))
    labels, last = dict.fromkeys(places, ""), -math.inf
    for place in sorted(places):
        if transform(place) - last >= distance:
            labels[place], last = f"{place:g}", transform(place)
    return list(labels.values())


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


def _caption(summary: pd.DataFrame, item: Mapping[str, Any]) -> str:
    sentences = [item["title"].rstrip("."), _seeds_sentence(summary)]
    measured = summary.dropna(subset="mean")
    epochs = {letter for letter, panel in item["panels"].items() if panel["x"] == "epoch"}
    is_curve = measured["panel"].isin(epochs)
    if is_curve.any():
        sentences.append(f"Curves over epochs: accuracy on the {item['selection']['split']} split")
    if not is_curve.all():
        images = _images(measured[~is_curve], item["metrics"])
        start = "Other panels" if is_curve.any() else "Points"
        sentences.append(f"{start}: {item['checkpoint']} checkpoint, {images}")
    if (measured["n_seeds"] < measured["n_seeds_planned"]).any():
        sentences.append("Hollow markers: fewer seeds than planned")
    if len(measured) < len(summary):
        sentences.append(f"×: no value, for the reasons in {item['name']}.csv")
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


def _saved(figure: Figure, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, **options)
    return buffer.getvalue()


def _csv(summary: pd.DataFrame) -> str:
    # `1` for an epoch and for a setting of 1.0, whatever type the column has become.
    x = [f"{x:g}" if isinstance(x, Real) and not math.isnan(x) else x for x in summary["x"]]
    plain = summary.assign(x=x)
    return plain.round({"mean": 4, "std": 4}).to_csv(index=False, lineterminator="\n")
