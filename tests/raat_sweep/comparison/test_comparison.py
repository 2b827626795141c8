"""Measured beside published: from a config to the page, with the paper's own config."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import GRID
from raat_core.cells.cell import Cell
from raat_core.errors import UserError
from raat_sweep.comparison.files import write_comparison
from raat_sweep.comparison.published import compare
from raat_sweep.config.reading import read_config, read_config_file
from raat_sweep.numbers.accuracies import measure
from raat_sweep.numbers.derived import derive
from raat_sweep.numbers.formatting import records
from raat_sweep.numbers.outcomes import Records
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.description import describe
from record_files import write_records_of

ROOT = Path(__file__).resolve().parents[3]
CSV = """dataset,architecture,norm,epsilon,method,source,metric,mean,std
Digits,ResNet-mini,linf,8/255,PGD-AT,S,clean,80,1
Digits,ResNet-mini,linf,8/255,PGD-AT,S,pgd10,40,
Digits,ResNet-mini,linf,8/255,RAAT,S,clean,82,0.5
Digits,ResNet-mini,linf,8/255,RAAT,S,pgd10,50,0.5
Digits,ResNet-mini,linf,8/255,Other,S,pgd10,60,0.5
Digits,ResNet-mini,linf,4/255,RAAT,S,pgd10,70,0.5
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "numbers.csv").write_text(CSV)
    return Plan(read_config(sweep(tmp_path), "test"))


def sweep(folder: Path, **comparison: Any) -> dict[str, Any]:
    grid = {**GRID, "methods": ["PGD-AT", "RAAT"], "seeds": [0, 1]}
    table = {
        "kind": "table",
        "title": "T",
        "metrics": ["clean", "pgd10", "cw"],
        "grids": [grid],
        "ours": ["RAAT"],
    }
    panel = {
        "title": "",
        "x": "lambda",
        "x_label": "",
        "metrics": ["clean"],
        "grids": [{**grid, "methods": ["RAAT"], "vary": {"lambda": [1, 2]}}],
    }
    compared = {
        "kind": "comparison",
        "title": "C",
        "published": {"t": str(folder / "numbers.csv")},
        "claims": [
            {"claim": "A", "item": "t", "metric": "aa", "left": ["RAAT"], "right": ["PGD-AT"]}
        ],
        **comparison,
    }
    figure = {"kind": "figure", "title": "F", "panels": {"a": panel}}
    return {"items": {"c": compared, "t": table, "f": figure}}


def measured(item: dict[str, Any], accuracies: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Measurements of a comparison's rows, given by method and metric; others are gaps."""
    rows = []
    for row in item["rows"]:
        of_row = accuracies.get((row["method"], row["metric"]), [math.nan, math.nan])
        accuracy = of_row[row["seed"]]
        gap = "not attacked" if math.isnan(accuracy) else ""
        rows.append({**row, "accuracy": accuracy, "samples": 10, "gap": gap, "log": ""})
    return pd.DataFrame(rows)


def test_a_comparison_asks_for_what_is_published_and_claimed(plan: Plan) -> None:
    asked = {(row["part"], row["metric"]) for row in plan.items["c"].rows}
    assert asked == {("t", "clean"), ("t", "pgd10"), ("0.left", "aa"), ("0.right", "aa")}
    assert {cell for cell, _ in plan.jobs_of("c")} == {cell for cell, _ in plan.jobs_of("t")}
    published = [(row["method"], row["metric"]) for row in plan.comparisons["c"].published_rows]
    assert published == [(m, a) for m in ("PGD-AT", "RAAT") for a in ("clean", "pgd10")]


def test_differences_spreads_and_gains_are_computed(plan: Plan, tmp_path: Path) -> None:
    item = describe(plan, "c")
    frame = measured(
        item,
        {
            ("PGD-AT", "clean"): [78.0, 79.0],
            ("RAAT", "clean"): [85.0, 85.0],
            ("PGD-AT", "pgd10"): [40.0, 41.0],
        },
    )
    rows = {(r["method"], r["metric"]): r for r in compare(frame, item).to_dict("records")}
    pgd_at = rows["PGD-AT", "clean"]
    assert (pgd_at["mean"], pgd_at["n_seeds"], pgd_at["difference"]) == (78.5, 2, -1.5)
    assert pgd_at["within_spread"] is True, "1.5 <= 1 + 0.71"
    assert rows["PGD-AT", "pgd10"]["within_spread"] is True, "0.5 <= 0.71, without a published std"
    assert rows["RAAT", "clean"]["within_spread"] is False, "3 > 0.5 + 0"
    missing = rows["RAAT", "pgd10"]
    assert missing["within_spread"] is None
    assert math.isnan(missing["difference"])
    gain = rows["↑ (%)", "clean"]
    assert gain["published_mean"] == pytest.approx(100 * (82 - 80) / 80)
    assert gain["mean"] == pytest.approx(100 * (85 - 78.5) / 78.5)
    assert math.isnan(rows["↑ (%)", "pgd10"]["mean"])

    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_comparison(frame, item, folder, Records(tmp_path))
        contents.append({path.name: path.read_text() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"c.csv", "c.claims.csv", "c.md", "c.html"}
    page = contents[0]["c.md"]
    assert "3 of 4 numbers are measured, 2 of them within the spread of both. 2 published" in page
    assert "not attacked: digits\\_resnet-mini\\_linf\\_raat\\_s0" in page
    assert "| A |  |  |  | 1 | – |" in page, "one line per claim"
    assert "| A | Digits, ResNet-mini, ℓ∞ 8/255 | RAAT: – | PGD-AT: – |" in page
    assert "not measured" in contents[0]["c.html"]


def test_a_gain_over_others_that_are_not_all_measured_is_missing(plan: Plan) -> None:
    item = describe(plan, "c")
    frame = measured(item, {("RAAT", "clean"): [85.0, 85.0]})
    rows = {(r["method"], r["metric"]): r for r in compare(frame, item).to_dict("records")}
    assert math.isnan(rows["↑ (%)", "clean"]["mean"])
    assert rows["↑ (%)", "clean"]["published_mean"] == pytest.approx(2.5)


def test_a_gain_over_the_others_that_are_measured_is_missing_too(tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text(CSV.replace("Other", "TRADES"))
    config = sweep(tmp_path)
    config["items"]["t"]["grids"][0]["methods"] = ["PGD-AT", "TRADES", "RAAT"]
    item = describe(Plan(read_config(config, "test")), "c")
    frame = measured(item, {("PGD-AT", "pgd10"): [40.0, 40.0], ("RAAT", "pgd10"): [50.0, 50.0]})
    rows = {(r["method"], r["metric"]): r for r in compare(frame, item).to_dict("records")}
    assert math.isnan(rows["↑ (%)", "pgd10"]["mean"]), "TRADES may be the best of the others"
    assert rows["↑ (%)", "pgd10"]["published_mean"] == pytest.approx(100 * (50 - 60) / 60)


def test_what_is_published_is_compared_and_not_derived(tmp_path: Path) -> None:
    published = CSV.replace("PGD-AT,S,pgd10,40", "PGD-AT,S,aa,40")
    published += "Digits,ResNet-mini,linf,8/255,PGD-AT,S,mean,61,\n"
    (tmp_path / "numbers.csv").write_text(published)
    config = sweep(tmp_path)
    config["items"]["t"]["metrics"] = ["clean", "aa", "mean"]
    item = describe(Plan(read_config(config, "test")), "c")
    compared = compare(derive(measured(item, {}), item["derived"], Records(tmp_path)), item)
    of_row = compared[compared["method"] == "PGD-AT"]
    means = dict(zip(of_row["metric"], of_row["published_mean"], strict=True))
    assert means == {"clean": 80.0, "aa": 40.0, "mean": 61.0}


def test_what_follows_from_published_means_is_compared_too(tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text(CSV.replace(",pgd10,", ",aa,"))
    config = sweep(tmp_path)
    config["items"]["t"]["metrics"] = ["clean", "aa", "nrr"]
    made = Plan(read_config(config, "test"))
    item = describe(made, "c")
    accuracies = {(m, a): [80.0, 80.0] for m in ("PGD-AT", "RAAT") for a in ("clean", "aa")}
    found = measured(item, accuracies)
    write_records_of(records(found), tmp_path)
    frame = derive(found, item["derived"], Records(tmp_path))
    rows = {(r["method"], r["metric"]): r for r in compare(frame, item).to_dict("records")}
    assert rows["PGD-AT", "nrr"]["published_mean"] == pytest.approx(2 * 80 * 40 / 120)
    assert rows["PGD-AT", "nrr"]["mean"] == pytest.approx(80)
    unmatched = {name: table.unmatched for name, table in made.comparisons["c"].tables.items()}
    assert unmatched == {"t": 2}, "another method, and another ball"


@pytest.mark.parametrize("numbers", ["", CSV.replace("Digits", "digits").split("\n", 1)[1]])
def test_numbers_of_nothing_here_are_counted(tmp_path: Path, numbers: str) -> None:
    (tmp_path / "numbers.csv").write_text(CSV.split("\n", 1)[0] + "\n" + numbers)
    made = Plan(read_config(sweep(tmp_path, claims=[]), "test"))
    item = describe(made, "c")
    assert item["rows"] == []
    write_comparison(measure([], Records(tmp_path)), item, tmp_path, Records(tmp_path))
    page = (tmp_path / "c.md").read_text()
    assert "0 of 0 numbers are measured" in page
    assert ("6 published numbers are of cells that" in page) == bool(numbers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"published": {"x": "numbers.csv"}}, "items.c.published = 'x'; allowed: t"),
        ({"published": {"f": "numbers.csv"}}, "items.c.published = 'f'; allowed: t"),
        ({"published": {"t": "none.csv"}}, "items.c.published.t = 'none.csv': cannot be read"),
        ({"published": {}, "claims": []}, "published, claims: one of them must have an entry"),
        ({"claim": {"item": "c"}}, "items.c.claims.0.item = 'c'; allowed: t, f"),
        ({"claim": {"item": "f"}}, "items.c.claims.0.panel = ''; allowed: a"),
        ({"claim": {"panel": "a"}}, "items.c.claims.0.panel = 'a': t is a table"),
        ({"claim": {"metric": "x"}}, "items.c.claims.0.metric = 'x'; allowed: clean"),
        (
            {"claim": {"left": ["TRADES"]}},
            "items.c.claims.0.left = 'TRADES'; allowed: PGD-AT, RAAT",
        ),
        ({"claim": {"relation": "equal"}}, "margin = 0: must be above 0 for relation: equal"),
        ({"claim": {"margin": 1}}, "margin = 1: must be above 0 for relation: equal, and not"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "numbers.csv").write_text(CSV)
    config = sweep(tmp_path, **{k: v for k, v in changes.items() if k != "claim"})
    if "claim" in changes:
        config["items"]["c"]["claims"][0].update(changes["claim"])
    with pytest.raises(UserError) as error:
        Plan(read_config(config, "test"))
    assert message in str(error.value)


def test_patterns_stand_for_varied_rows(tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text(CSV)
    claim = {
        "claim": "B",
        "item": "f",
        "panel": "a",
        "metric": "clean",
        "left": ["RAAT (lambda = *)"],
        "right": ["PGD-AT (lambda = *)"],
    }
    config = sweep(tmp_path, claims=[claim])
    config["methods"] = {"PGD-AT": "trades"}
    config["items"]["f"]["panels"]["a"]["grids"][0]["methods"] = ["RAAT", "PGD-AT"]
    (claim_of,) = describe(Plan(read_config(config, "test")), "c")["claims"]
    assert claim_of["left"] == ["RAAT (lambda = 1)", "RAAT (lambda = 2)"]
    assert claim_of["right"] == ["PGD-AT (lambda = 1)", "PGD-AT (lambda = 2)"]
    assert (claim_of["left_in"], claim_of["right_in"]) == ("", "")
    claim["right"] = ["RAAT (lambda = 1)"]
    with pytest.raises(UserError, match=r"claims\.0: 'RAAT \(lambda = 1\)' is on both sides"):
        Plan(read_config(config, "test"))


def two_checkpoints(folder: Path, **claim: Any) -> dict[str, Any]:
    """A table of the best checkpoints and one of the last, and a claim about both."""
    config = sweep(folder, published={})
    items = config["items"]
    items["last"] = {**items["t"], "checkpoint": "last"}
    items["c"]["claims"][0].update(left=["*"], right={"item": "last", "rows": ["RAAT"]})
    items["c"]["claims"][0].update(claim)
    return config


def test_a_claim_may_compare_rows_of_two_items(tmp_path: Path) -> None:
    plan = Plan(read_config(two_checkpoints(tmp_path), "test"))
    item = describe(plan, "c")
    asked = {(r["part"], r["method"], r["record"].split("_")[0]) for r in item["rows"]}
    assert asked == {
        ("0.left", "PGD-AT", "best"),
        ("0.left", "RAAT", "best"),
        ("0.right", "RAAT", "last"),
    }
    (claim,) = item["claims"]
    assert (claim["left_in"], claim["right_in"]) == ("t", "last")
    write_records_of([{**row, "accuracy": 50.0, "samples": 10} for row in item["rows"]], tmp_path)
    frame = pd.DataFrame(item["rows"]).assign(accuracy=50.0, samples=10, gap="", log="")
    write_comparison(frame, item, tmp_path, Records(tmp_path))
    page = (tmp_path / "c.md").read_text()
    assert "| PGD-AT in t: 50.00 | RAAT in last: 50.00 | +0.00 AA | 2 | 10 |" in page


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"right": {"item": "x", "rows": ["RAAT"]}}, "claims.0.right.item = 'x'; allowed: t, f"),
        ({"right": {"item": "f", "rows": ["RAAT"]}}, "claims.0.right.panel = ''; allowed: a"),
        ({"right": {"item": "last", "panel": "a", "rows": ["RAAT"]}}, "'a': last is a table"),
        ({"right": {"rows": ["RAAT"]}}, "claims.0: 'RAAT' is on both sides"),
        ({"right": {"item": "last", "row": ["RAAT"]}}, "unknown key 'row'; did you mean 'rows'?"),
        ({"right": {"item": "last", "rows": ["MART"]}}, "claims.0.right = 'MART'; did you mean"),
    ],
)
def test_mistakes_in_a_side_are_named(tmp_path: Path, claim: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        Plan(read_config(two_checkpoints(tmp_path, **claim), "test"))
    assert message in str(error.value)


def test_a_cell_is_not_compared_with_itself_in_another_item(tmp_path: Path) -> None:
    config = two_checkpoints(tmp_path)
    config["items"]["last"]["checkpoint"] = "best"
    with pytest.raises(UserError, match="'RAAT' is on both sides"):
        Plan(read_config(config, "test"))


CONFIGS = [ROOT / "config" / name for name in ("config.yaml", "released.yaml")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_papers_matrix_is_whole(path: Path) -> None:
    """Every published number has its cells, three seeds each; Figure 5 shares Table 1's."""
    plan = Plan(read_config_file(path))
    compared: dict[str, set[tuple[str, ...]]] = {}
    for row in plan.comparisons["comparison"].published_rows:
        compared.setdefault(row["part"], set()).add((row["dataset"], row["method"], row["metric"]))
    assert {table: len(rows) for table, rows in compared.items()} == {
        "table1": 90,  # both architectures count once
        "table2": 2,
        "table3": 3 * 2 * 2,
        "table5": 90,
    }
    sizes = {name: len(plan.items[name].cells) for name in plan.config.items}
    assert (sizes["table1"], sizes["table2"], sizes["table3"]) == (108, 3, 18)
    assert sizes["table5"] == 54
    table1 = {cell.name for cell in plan.items["table1"].cells}
    assert {cell.name for cell in plan.items["table2"].cells} <= table1
    shared = [cell for cell in plan.items["figure5"].cells if cell.name in table1]
    labels = sorted({f"{cell.method.name}" for cell in shared})
    assert labels == ["cons-at", "mart", "pgd-at", "raat", "trades"]
    assert len(plan.comparisons["comparison"].claims) > 20


def test_the_paper_and_the_released_code_differ_where_they_should() -> None:
    def settings(path: Path) -> dict[str, Cell]:
        plan = Plan(read_config_file(path))
        rows = {(row["method"], row["seed"]): row["cell"] for row in plan.items["table5"].rows}
        return {method: plan.cells[cell] for (method, seed), cell in rows.items() if seed == 0}

    paper, released = (settings(path) for path in CONFIGS)
    assert paper["RAAT"].method.variant == "paper"
    assert released["RAAT"].method.variant == "released"
    assert str(released["RAAT"].threat_model.step_size) == "1/17"  # 15/255
    assert released["RAAT"].architecture == "resnet-18-bottleneck"
    assert paper["RAAT"].recipe == released["RAAT"].recipe
    # In l2 the released code's attack of PGD-AT is another one, too.
    assert (paper["PGD-AT"].method.variant, released["PGD-AT"].method.variant) == (
        "paper",
        "released",
    )


def test_rows_of_one_cell_under_attacks_of_other_settings_are_compared(tmp_path: Path) -> None:
    claim = {
        "claim": "A larger ball costs accuracy",
        "item": "f",
        "panel": "a",
        "metric": "pgd10",
        "left": ["RAAT (attack.epsilon = 2/255)"],
        "right": ["RAAT (attack.epsilon = 8/255)"],
    }
    config = sweep(tmp_path, published={}, claims=[claim])
    panel = config["items"]["f"]["panels"]["a"]
    panel.update(x="attack.epsilon", metrics=["pgd10"])
    panel["grids"][0]["vary"] = {"attack.epsilon": ["2/255", "8/255"]}
    item = describe(Plan(read_config(config, "test")), "c")
    cells = {part: {row["cell"] for row in item["rows"] if row["part"] == part} for part in
             ("0.left", "0.right")}  # fmt: skip
    assert cells["0.left"] == cells["0.right"]
    assert len({row["record"] for row in item["rows"]}) == 2


def test_the_page_says_which_reading_is_measured(plan: Plan, tmp_path: Path) -> None:
    readings = [
        {
            table["reading"]
            for table in describe(Plan(read_config_file(path)), "comparison")["tables"].values()
        }
        for path in CONFIGS
    ]
    text, code = readings
    assert all(
        sentence.startswith("Measured here are the methods as the paper's text")
        for sentence in text
    )
    assert all("is run by config/released.yaml" in sentence for sentence in text)
    assert all(
        sentence.startswith("Measured here are the methods as the released code")
        for sentence in code
    )
    on_resnets = ", on ResNet-18 and not on what the released code calls so (resnet-18-bottleneck)"
    assert sum(on_resnets in sentence for sentence in text) == 1
    assert sum("on what that code calls ResNet-18" in sentence for sentence in code) == 1
    item = describe(plan, "c")
    write_comparison(measured(item, {}), item, tmp_path, Records(tmp_path))
    assert item["tables"]["t"]["reading"] in (tmp_path / "c.html").read_text().replace(
        "&#x27;", "'"
    )


def test_readings_that_are_mixed_are_told_by_label(tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text(CSV)
    config = sweep(tmp_path)
    config["methods"] = {
        "RAAT": {"name": "raat", "variant": "released"},
        "PGD-AT": {"name": "pgd-at", "variant": "released"},
        "TRADES": {"name": "trades", "attack_start": "gaussian"},
        "MART": {"name": "mart"},
    }
    config["items"]["t"]["grids"][0]["methods"] = ["PGD-AT", "RAAT", "TRADES", "MART"]
    reading = describe(Plan(read_config(config, "test")), "c")["tables"]["t"]["reading"]
    assert "(text: MART; released code: RAAT; mixtures of both: TRADES)" in reading
    config["items"]["t"]["grids"][0]["methods"] = ["PGD-AT"]
    config["items"]["t"]["ours"] = config["items"]["c"]["claims"] = []
    assert describe(Plan(read_config(config, "test")), "c")["tables"]["t"]["reading"] == ""
