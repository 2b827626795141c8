"""Published numbers: the paper's, and what a file of them must look like."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from raat_core.errors import UserError
from raat_sweep.numbers.combining import combine
from raat_sweep.numbers.improvement import improvement
from raat_sweep.plan.published import COLUMNS, read_published

PUBLISHED = Path(__file__).resolve().parents[3] / "config/published"
FILES = sorted(PUBLISHED.glob("*.csv"))


def means(table: str) -> dict[tuple[str, str], dict[str, float]]:
    """Published means by (data set, method) and metric."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in read_published(PUBLISHED / f"{table}.csv", "x").rows:
        place = f"{row['dataset']}, {row['architecture']}", row["method"]
        found.setdefault(place, {})[row["metric"]] = row["mean"]
    return found


def test_the_tables_are_whole() -> None:
    assert {path.stem: len(read_published(path, "x").rows) for path in FILES} == {
        "table1": 3 * 2 * 6 * 5,
        "table2": 10 * 2,
        "table3": 12 * 2 * 2,
        "table5": 3 * 6 * 5,
    }


@pytest.mark.parametrize(
    ("table", "place", "mean", "nrr"),
    [
        ("table2", ("CIFAR-100, ResNet-18", "RAAT"), 42.09, None),
        ("table2", ("CIFAR-100, ResNet-18", "MMA"), 39.50, None),
        ("table3", ("CIFAR-10, PreActResNet-18", "RAAT#"), 67.205, 63.605),
        ("table3", ("CIFAR-100, PreActResNet-18", "RAAT#"), 42.500, 37.607),
        ("table3", ("CIFAR-10, PreActResNet-18", "GAIRAT"), 58.200, 50.979),
        ("table3", ("CIFAR-100, PreActResNet-18", "ReBAT"), 41.865, 37.004),
    ],
)
def test_mean_and_nrr_are_those_that_the_paper_prints(
    table: str, place: tuple[str, str], mean: float, nrr: float | None
) -> None:
    parts = [means(table)[place][metric] for metric in ("clean", "aa")]
    assert combine("mean", parts) == pytest.approx(mean, abs=0.0051)
    if nrr is not None:
        assert combine("harmonic-mean", parts) == pytest.approx(nrr, abs=0.00051)


def test_the_gains_follow_from_the_means_where_the_paper_computed_them_so() -> None:
    """Printed ↑ entries of Table 1 on CIFAR-10 and CIFAR-100; two of them do not follow."""
    rows = [
        {
            "dataset": place.split(", ")[0],
            "architecture": place.split(", ")[1],
            "norm": "linf",
            "epsilon": "8/255",
            "method": method,
            **{f"{metric}_mean": mean for metric, mean in by_metric.items()},
        }
        for (place, method), by_metric in means("table1").items()
    ]
    metrics = ["clean", "pgd10", "pgd100", "cw", "aa"]
    gains = improvement(pd.DataFrame(rows), metrics, ["RAAT", "RAAT++"])
    computed = {
        (row["dataset"], row["architecture"]): [round(row[metric], 2) for metric in metrics]
        for row in gains.to_dict("records")
    }
    assert computed["CIFAR-10", "ResNet-18"] == [0.32, 2.35, 1.97, 4.60, 0.46]  # +1.88 printed
    assert computed["CIFAR-100", "ResNet-18"] == [0.00, 2.71, 2.64, 6.23, 1.02]  # +2.62 printed
    assert computed["CIFAR-100", "WRN-28-10"][0] == -1.56  # −1.40 printed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "its columns must be dataset,architecture"),
        ("{head}\nD,A,linf,8/255,M,S,aa,high,\n", ":2: mean = 'high': must be a number from 0"),
        ("{head}\nD,A,linf,8/255,M,S,aa,,\n", ":2: mean = '': must be a number from 0 to 100"),
        ("{head}\nD,A,linf,8/255,M,S,aa,50,-1\n", ":2: std = '-1': must be a number from 0"),
        ("{head}\nD,A,linf,8/255,M,S,aa,nan,\n", ":2: mean = 'nan': must be a number"),
        ("{head}\n" + "D,A,linf,8/255,M,S,aa,50,\n" * 2, "M aa stands there 2 times"),
        (None, "items.t.cited = "),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "numbers.csv"
    if content is not None:
        path.write_text(content.replace("{head}", ",".join(COLUMNS)))
    with pytest.raises(UserError) as error:
        read_published(path, "items.t.cited")
    assert message in str(error.value)
