"""Figures: statistics worked out by hand, and what the axes show of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raat_core.errors import UserError
from raat_sweep.figures.figure import draw
from raat_sweep.figures.files import write_figure
from raat_sweep.figures.summary import summarise_figure

NAN = math.nan


def points(
    accuracies: Sequence[float],
    x: Any = 0.1,
    panel: str = "a",
    series: str = "RAAT",
    metric: str = "pgd10",
    record: str | None = "best_0",
) -> list[dict[str, Any]]:
    """One point of a line, a seed per value; NaN is a gap."""
    return [
        {
            "panel": panel,
            "series": series,
            "x": x,
            "seed": seed,
            "metric": metric,
            "cell": f"{series}_{'' if record is None else x}_s{seed}",
            "record": record,
            "accuracy": accuracy,
            "samples": NAN if record is None else 0 if math.isnan(accuracy) else 360,
            "gap": "not trained" if math.isnan(accuracy) else "",
        }
        for seed, accuracy in enumerate(accuracies)
    ]


def item(**panels: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "f",
        "title": "A title",
        "metrics": {"clean": "Clean", "robust": "PGD-10", "pgd10": "PGD-10"},
        "panels": panels,
        "checkpoint": "best",
        "selection": {"split": "validation"},
    }


def panel(x: str = "eta", metrics: Sequence[str] = ("pgd10",)) -> dict[str, Any]:
    return {"title": f"over {x}", "x": x, "x_label": x, "metrics": list(metrics)}


def drawn(rows: list[dict[str, Any]], **panels: dict[str, Any]) -> Figure:
    figure = draw(summarise_figure(pd.DataFrame(rows)), item(**panels))
    figure.draw_without_rendering()  # type: ignore[no-untyped-call, unused-ignore]
    return figure


def data_axes(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def xs(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata())]


def ys(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata())]


def crosses(axes: Axes) -> list[float]:
    """Where gaps are marked."""
    [line] = [line for line in axes.lines if line.get_marker() == "x"]
    return xs(line)


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def test_summary_has_mean_and_sample_deviation() -> None:
    [row] = summarise_figure(pd.DataFrame(points((50.0, 52.0)))).to_dict("records")
    assert (row["panel"], row["series"], row["x"], row["metric"]) == ("a", "RAAT", 0.1, "pgd10")
    assert row["mean"] == 51.0
    assert row["std"] == pytest.approx(math.sqrt(2))
    assert (row["n_seeds"], row["n_seeds_planned"], row["samples"]) == (2, 2, 360)
    assert row["gap"] == ""


def test_gaps_and_single_seeds_stay_missing() -> None:
    rows = [*points((50.0, NAN), 0.1), *points((NAN, NAN), 0.3)]
    partial, missing = summarise_figure(pd.DataFrame(rows)).to_dict("records")
    assert partial["mean"] == 50.0
    assert math.isnan(partial["std"])
    assert (partial["n_seeds"], partial["gap"]) == (1, "not trained")
    assert math.isnan(missing["mean"])
    assert (missing["n_seeds"], missing["n_seeds_planned"]) == (0, 2)


def test_curves_count_seeds_without_history_and_epochs_without_evaluation() -> None:
    rows = [
        *points((10.0, 20.0), 1, metric="robust", record=None),
        *points((30.0,), 2, metric="robust", record=None),
        {**points((NAN,), NAN, metric="robust", record=None)[0], "seed": 2, "cell": "untrained"},
    ]
    summary = summarise_figure(pd.DataFrame(rows))
    assert summary["x"].tolist() == [1, 2]
    assert summary["mean"].tolist() == [15.0, 30.0]
    assert summary["n_seeds"].tolist() == [2, 1]
    assert summary["n_seeds_planned"].tolist() == [3, 3]
    assert summary["samples"].isna().all()


def test_figure_2_has_a_row_per_title_and_letters_along_rows() -> None:
    rows = [
        *(
            p
            for m in ("robust", "clean")
            for p in points((1.0, 2.0), 1, "a", metric=m, record=None)
        ),
        *(
            p
            for m in ("robust", "clean")
            for p in points((1.0, 2.0), 1, "b", metric=m, record=None)
        ),
        *(p for m in ("pgd10", "clean") for p in points((1.0, 2.0), 0.1, "c", metric=m)),
    ]
    figure = drawn(
        rows,
        a=panel("epoch", ["robust", "clean"]),
        b=panel("epoch", ["robust", "clean"]),
        c=panel("threshold", ["pgd10", "clean"]),
    )
    axes = data_axes(figure)
    assert [one.get_title("left")[:3] for one in axes] == ["(a)", "(b)", "(c)", "(d)", "(e)", "(f)"]
    assert [one.get_ylabel() for one in axes] == [
        "Robust accuracy (PGD-10, %)", "", "", "Clean accuracy (%)", "", "",
    ]  # fmt: skip
    assert [one.get_xlabel() for one in axes] == ["", "", "", "epoch", "epoch", "threshold"]
    assert "Curves over epochs: accuracy on the validation split" in caption(figure)
    assert "Other panels: best checkpoint, 360 test images" in caption(figure)


def test_panels_without_a_metric_leave_its_axes_off() -> None:
    rows = [*points((1.0,)), *points((2.0,), metric="clean"), *points((3.0,), panel="b")]
    figure = drawn(rows, a=panel(metrics=["pgd10", "clean"]), b=panel())
    assert [axes.get_title("left")[:3] for axes in data_axes(figure)] == ["(a)", "(b)", "(c)"]
    assert [axes.get_xlabel() for axes in data_axes(figure)] == ["", "eta", "eta"]


def test_metrics_of_one_title_in_one_panel_are_refused() -> None:
    rows = [*points((1.0,)), *points((1.0,), metric="robust")]
    with pytest.raises(UserError, match=r"panel a: 'pgd10' and 'robust' are both titled 'PGD-10'"):
        drawn(rows, a=panel(metrics=["pgd10", "robust"]))


def test_lines_break_at_gaps_which_are_marked_and_counted() -> None:
    rows = [*points((50.0, 52.0), 0.1), *points((NAN, NAN), 0.3), *points((48.0, 49.0), 0.6)]
    figure = drawn(rows, a=panel())
    [axes] = data_axes(figure)
    assert ys(axes.lines[0]) == pytest.approx([51, NAN, 48.5], nan_ok=True)
    assert crosses(axes) == [0.3]
    assert texts(axes) == ["1 missing"]
    assert "×: no value" in caption(figure)


def test_points_of_fewer_seeds_are_hollow() -> None:
    figure = drawn([*points((50.0, 52.0), 0.1), *points((48.0, NAN), 0.3)], a=panel())
    hollow = [line for line in data_axes(figure)[0].lines if line.get_markerfacecolor() == "white"]
    assert [xs(line) for line in hollow] == [[0.3]]
    assert "Hollow markers: fewer seeds than planned" in caption(figure)
    assert "n = 2 seeds" in caption(figure)


def test_one_seed_says_that_there_is_no_deviation() -> None:
    figure = drawn([*points((50.0,), 0.1), *points((48.0,), 0.3)], a=panel())
    assert "n = 1 seed, without standard deviation" in caption(figure)


def test_methods_are_categories_with_error_bars() -> None:
    rows = [*points((50.0, 52.0), "PGD-AT", series=""), *points((NAN, NAN), "RAAT", series="")]
    figure = drawn(rows, a=panel("method"))
    [axes] = data_axes(figure)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["PGD-AT", "RAAT"]
    [bars] = [one for one in axes.collections if isinstance(one, LineCollection)]
    bottom, top = np.asarray(bars.get_segments()[0])[:, 1]
    assert (bottom, top) == pytest.approx((51 - math.sqrt(2), 51 + math.sqrt(2)))
    assert crosses(axes) == [1.0]


def test_wide_settings_are_on_a_log_axis_but_epochs_are_not() -> None:
    def scale(xs: Sequence[float], name: str, record: str | None) -> str:
        metric = "pgd10" if record else "robust"
        rows = [row for x in xs for row in points((50.0,), x, metric=metric, record=record)]
        return data_axes(drawn(rows, a=panel(name, [metric])))[0].get_xscale()

    assert scale([0.5, 5], "lambda", "best_0") == "log"
    assert scale([0.5, 4.9], "lambda", "best_0") == "linear"
    assert scale([0.0, 1, 20], "lambda", "best_0") == "linear"
    assert scale([1, 100], "epoch", None) == "linear"


def test_epochs_have_integer_ticks() -> None:
    rows = [row for x in (1, 2, 3) for row in points((50.0,), x, metric="robust", record=None)]
    [axes] = data_axes(drawn(rows, a=panel("epoch", ["robust"])))
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_settings_that_a_series_does_not_have_are_a_level() -> None:
    rows = [*points((50.0,), 0.1), *points((51.0,), 0.3), *points((40.0,), None, series="PGD-AT")]
    [axes] = data_axes(drawn(rows, a=panel()))
    assert [40.0, 40.0] in [ys(line) for line in axes.lines]


def test_series_look_the_same_in_all_panels_and_missing_ones_say_so() -> None:
    rows = [
        *points((50.0,), series="MART"),
        *points((51.0,)),
        *points((51.0,), panel="b"),
        *points((NAN,), panel="b", series="TRADES"),
    ]
    legends = [axes.get_legend() for axes in drawn(rows, a=panel(), b=panel()).axes]
    looks = [
        {
            text.get_text(): line.get_color()
            for text, line in zip(one.get_texts(), one.get_lines(), strict=True)
        }
        for one in legends
        if one
    ]
    assert list(looks[0]) == ["MART", "RAAT"]
    assert list(looks[1]) == ["RAAT", "TRADES (missing)"]
    assert looks[0]["RAAT"] == looks[1]["RAAT"] != looks[0]["MART"]


@pytest.mark.parametrize(("name", "record"), [("eta", "best_0"), ("epoch", None)])
def test_a_figure_without_any_value_is_drawn(name: str, record: str | None) -> None:
    rows = points((NAN, NAN), 0.1 if record else NAN, metric="robust", record=record)
    figure = drawn(rows, a=panel(name, ["robust"]))
    assert texts(data_axes(figure)[0]) == ["1 missing"]
    assert "×: no value" in caption(figure)


def test_files_are_complete_and_the_same_on_a_second_write(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        [*points((50.0, 52.0), 0.1), *points((NAN, NAN), 0.3), *points((50,), None)]
    )
    names = ["f.csv", "f.pdf", "f.png"]
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        write_figure(frame, item(a=panel()), folder)
        assert sorted(path.name for path in folder.iterdir()) == names
        contents.append([(folder / name).read_bytes() for name in names])
    assert contents[0] == contents[1]
    assert b"CreationDate" not in contents[0][1]
    assert contents[0][0].decode().splitlines() == [
        "panel,series,x,metric,mean,std,n_seeds,n_seeds_planned,samples,gap",
        "a,RAAT,0.1,pgd10,51.0,1.4142,2,2,360,",
        "a,RAAT,0.3,pgd10,,,0,2,,not trained",
        "a,RAAT,,pgd10,50.0,,1,1,360,",
    ]


def test_radii_stand_where_they_are_and_as_they_are_written(tmp_path: Path) -> None:
    radii = ["0", "2/255", "4/255", "8/255", "16/255"]
    rows = [p for n, x in enumerate(radii) for p in points((80.0 - n, 82.0 - n), x)]
    rows += [p for x in radii[:1] for p in points((90.0,), math.nan, series="level")]
    shown = {"a": panel("attack.epsilon")}
    figure = drawn(rows, **shown)
    (axes,) = data_axes(figure)
    assert axes.get_xscale() == "linear"
    assert xs(axes.lines[0]) == pytest.approx([0, 2 / 255, 4 / 255, 8 / 255, 16 / 255])
    assert ys(axes.lines[0]) == [81.0, 80.0, 79.0, 78.0, 77.0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["0", "", "4/255", "8/255", "16/255"]
    write_figure(pd.DataFrame(rows), item(**shown), tmp_path)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[2].startswith("a,RAAT,2/255,pgd10,80.0,1.4142,2,2,360")


def test_radii_that_no_denominator_of_255_fits_are_decimals() -> None:
    rows = [p for x in ("0.05", "0.1", "0.15") for p in points((50.0,), x)]
    (axes,) = data_axes(drawn(rows, a=panel("attack.epsilon")))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.05", "0.1", "0.15"]


def test_a_caption_names_attacks_in_balls_of_their_own() -> None:
    shown = {**item(a=panel()), "balls": "Attacks in balls of their own: Half in ℓ∞, ε = 4/255"}
    figure = draw(summarise_figure(pd.DataFrame(points((50.0,)))), shown)
    assert "Attacks in balls of their own: Half in ℓ∞, ε = 4/255." in caption(figure)
