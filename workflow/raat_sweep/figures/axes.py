"""One panel and metric of a figure: lines, categories, and marks where there is no value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from raat_sweep.config.balls import LENGTHS
from raat_sweep.config.grid import OF_ATTACKS
from raat_sweep.figures.style import GREY, Style

CURVES = ("epoch", "distance")
"""What may be on the x axis of a panel, with many values."""
LOG_SPAN = 10
"""Settings whose largest value is this many times the smallest, or more, get a log axis."""
CATEGORY_CHARACTERS = 22
"""What fits under an axis; longer names of categories are turned."""
MARKERS_PER_CURVE = 8
MOST_TICKS, LABEL_DISTANCE, CHARACTER = 12, 0.12, 0.035
"""Settings stand at ticks of their own if they are few, with labels at this part of the axis, or
farther apart by their characters."""
LENGTHS_ON_AXES = tuple(f"{OF_ATTACKS}{length}" for length in LENGTHS)
"""Settings whose values are texts such as `4/255`, and places on the axis."""


@dataclass(frozen=True)
class Scale:
    """The x axis of a panel: numbers, lengths such as `4/255`, or categories at 0, 1, ..."""

    positions: dict[Any, float]
    is_numeric: bool
    is_curve: bool = False
    """Whether every line has many points that are joined: epochs, distances."""
    is_length: bool = False

    @classmethod
    def of(cls, values: pd.Series[Any], x: str) -> Scale:
        """The scale that holds all `values` of what is on the axis; missing ones have no place."""
        known = list(dict.fromkeys(values.dropna()))
        if x in LENGTHS_ON_AXES and all(map(_is_length, known)):
            return cls({value: float(Fraction(value)) for value in known}, True, is_length=True)
        if all(isinstance(value, Real) and not isinstance(value, bool) for value in known):
            return cls({value: float(value) for value in known}, True, is_curve=x in CURVES)
        return cls({value: float(index) for index, value in enumerate(known)}, False)

    @property
    def labels(self) -> dict[float, str]:
        """What stands at each place, lengths as they are written."""
        return {
            place: str(value) if self.is_length else f"{place:g}"
            for value, place in self.positions.items()
        }

    @property
    def is_log(self) -> bool:
        """Settings over a wide range, all positive; curves and lengths are always linear."""
        places = self.positions.values()
        if self.is_curve or self.is_length or not self.is_numeric or not places or min(places) <= 0:
            return False
        return max(places) >= LOG_SPAN * min(places)


def draw_points(
    axes: Axes, points: pd.DataFrame, scale: Scale, styles: Mapping[str, Style]
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
            _draw_line(axes, placed, styles[str(name)], shift if scale.is_curve else None)
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


def _mark_missing(axes: Axes, points: pd.DataFrame, scale: Scale) -> None:
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


def _set_x_axis(axes: Axes, scale: Scale) -> None:
    places = list(scale.positions.values())
    if not places:
        axes.set_xticks([])
    elif not scale.is_numeric:
        names = [str(value) for value in scale.positions]
        is_long = max(map(len, names)) * len(names) > CATEGORY_CHARACTERS
        turned: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(places, names, **(turned if is_long else {}))
        axes.set_xlim(-0.5, len(places) - 0.5)
    elif scale.is_curve:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    else:
        if scale.is_log:
            axes.set_xscale("log")
        if len(places) <= MOST_TICKS:
            labels = _tick_labels(scale.labels, math.log if scale.is_log else float)
            axes.set_xticks(list(labels), list(labels.values()))
            axes.minorticks_off()


def _tick_labels(
    labels: Mapping[float, str], transform: Callable[[float], float]
) -> dict[float, str]:
    """A label at each place, but none where it would run into the one before."""
    part = max(LABEL_DISTANCE, CHARACTER * max(map(len, labels.values())))
    distance = part * (transform(max(labels)) - transform(min(labels)))
    kept, last = dict.fromkeys(sorted(labels), ""), -math.inf
    for place in kept:
        if transform(place) - last >= distance:
            kept[place], last = labels[place], transform(place)
    return kept


def _is_length(value: object) -> bool:
    try:
        Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        return False
    return True
