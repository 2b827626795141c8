"""Settings of attacks that grids vary: robustness curves over ε, and rows of tables."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ATTACK_PLUGIN, GRID
from raat_core.cells.evaluations import evaluation_name
from raat_core.errors import UserError
from raat_core.validation import format_fraction
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.description import describe

EPSILONS = [0, "2/255", "1/2 of epsilon", "8/255", "16/255"]
SHOWN = ["0", "2/255", "4/255", "8/255", "16/255"]
README = Path(__file__).resolve().parents[3] / "config/README.md"


def figure(vary: dict[str, Any] | None = None, **panel: Any) -> dict[str, Any]:
    grid = {**GRID, "methods": ["PGD-AT", "RAAT"], "seeds": [0, 1]}
    shown = {
        "title": "over ε",
        "x": "attack.epsilon",
        "x_label": "ε",
        "metrics": ["pgd10"],
        "grids": [{**grid, "vary": vary or {"attack.epsilon": EPSILONS}}],
        **panel,
    }
    return {"kind": "figure", "title": "F", "panels": {"a": shown}}


def plan(item: dict[str, Any], **more: Any) -> Plan:
    return Plan(read_config({"items": {"f": item}, **more}, "test"))


def test_a_curve_is_points_of_the_same_cells_attacked_by_one_job() -> None:
    made = plan(figure())
    assert len(made.cells) == len(made.jobs.lists) == 4
    for (cell, _), chosen in made.jobs.lists.items():
        threat = made.cells[cell].threat_model
        clean, *attacks = chosen.attacks
        assert clean.kind == "clean"
        assert [a.to_json()["epsilon"] for a in attacks] == SHOWN[1:]
        # Each step is the same part of its ball, so that each attack reaches as far.
        assert [a.to_json()["step_size"] for a in attacks] == [
            format_fraction(Fraction(n, 510)) for n in (1, 2, 4, 8)
        ]
        assert [a.label_in(threat) for a in attacks] == [
            "pgd-10 ε = 2/255", "pgd-10 ε = 4/255", "pgd-10", "pgd-10 ε = 16/255",
        ]  # fmt: skip


def test_rows_say_where_a_point_stands() -> None:
    made = plan(figure())
    rows = made.items["f"].rows
    assert len(rows) == 2 * 5 * 2
    assert list(dict.fromkeys(row["x"] for row in rows)) == SHOWN
    assert Counter(row["series"] for row in rows) == {"PGD-AT": 10, "RAAT": 10}
    own = [row for row in rows if row["x"] == "8/255"]
    (cell,) = {row["cell"] for row in own if row["series"] == "RAAT" and row["seed"] == 0}
    attack = made.config.attacks["pgd10"].resolve(made.cells[cell].threat_model)
    assert evaluation_name(attack, "best") in {row["record"] for row in own}
    # What is without an attack is the record of the clean images.
    clean = made.config.attacks["clean"].resolve(made.cells[cell].threat_model)
    assert {row["record"] for row in rows if row["x"] == "0"} == {evaluation_name(clean, "best")}
    assert json.loads(json.dumps(describe(made, "f"))) == describe(made, "f")


def test_a_curve_adds_to_what_other_items_ask_for() -> None:
    table = {"kind": "table", "title": "T", "metrics": ["clean", "pgd10"], "grids": [GRID]}
    alone = Plan(read_config({"items": {"t": table}}, "test"))
    both = Plan(read_config({"items": {"t": table, "f": figure()}}, "test"))
    assert both.items["t"].rows == alone.items["t"].rows
    (name,) = alone.cells
    (chosen,) = (one for (cell, _), one in both.jobs.lists.items() if cell == name)
    assert [attack.kind for attack in chosen.attacks] == ["clean", *["pgd"] * 4]


def test_a_curve_leaves_the_attacks_of_trainings_alone() -> None:
    table = {"kind": "table", "title": "T", "metrics": ["clean", "pgd10"], "grids": [GRID]}
    attacks = {"clean": {"kind": "clean", "title": "Clean", "job": "training"}}
    alone = Plan(read_config({"attacks": attacks, "items": {"t": table}}, "test"))
    items = {"f": figure(), "t": table}
    both = Plan(read_config({"attacks": attacks, "items": items}, "test"))
    (name,) = alone.cells
    assert both.jobs.training_summary_name(name) == alone.jobs.training_summary_name(name)
    # Cells without such an attack are only trained, as before.
    others = set(both.cells) - {name}
    assert {both.jobs.training_summary_name(other) for other in others} == {"trained.json"}


def test_what_has_no_radius_is_level_and_others_follow() -> None:
    made = plan(
        figure(metrics=["clean", "sq", "both"]),
        plugins=[str(ATTACK_PLUGIN)],
        attacks={"sq": {"kind": "my-square", "title": "Square", "queries": 5}},
        derived={"both": {"kind": "mean", "of": ["clean", "sq"], "title": "M"}},
    )
    rows = made.items["f"].rows
    clean = {row["record"] for row in rows if row["metric"] == "clean"}
    square = {row["record"] for row in rows if row["metric"] == "sq"}
    assert (len(clean), len(square)) == (1, 5)
    assert len(square - clean) == 4


def test_tables_have_a_row_for_each() -> None:
    grid = {**GRID, "vary": {"attack.epsilon": ["4/255", "8/255"]}}
    table = {"kind": "table", "title": "T", "metrics": ["clean", "pgd10"], "grids": [grid]}
    claim = {
        "kind": "comparison",
        "title": "C",
        "claims": [
            {
                "claim": "a smaller ball is easier",
                "item": "t",
                "metric": "pgd10",
                "left": ["PGD-AT (attack.epsilon = 4/255)"],
                "right": ["PGD-AT (attack.epsilon = 8/255)"],
            }
        ],
    }
    made = Plan(read_config({"items": {"t": table, "c": claim}}, "test"))
    records = {
        row["method"]: row["record"] for row in made.items["t"].rows if row["metric"] != "clean"
    }
    assert list(records) == ["PGD-AT (attack.epsilon = 4/255)", "PGD-AT (attack.epsilon = 8/255)"]
    compared = {row["method"]: row["record"] for row in made.items["c"].rows}
    assert compared == records
    assert len(set(records.values())) == 2


def test_attacks_in_balls_of_their_own_are_named_in_captions() -> None:
    half = {"kind": "pgd", "title": "Half", "steps": 10, "epsilon": "1/2 of epsilon"}
    table = {"kind": "table", "title": "T", "metrics": ["pgd10", "half"], "grids": [GRID]}
    made = Plan(read_config({"attacks": {"half": half}, "items": {"t": table}}, "test"))
    assert describe(made, "t")["balls"] == "Attacks in balls of their own: Half in ℓ∞, ε = 4/255"
    assert "balls" not in describe(plan(figure()), "f")


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        (figure({"attack.epsilno": [1]}, x="method"), [
            "items.f.panels.a.grids.0.vary.attack.epsilno: no attack of this item has it",
            "did you mean 'epsilon'?"]),
        (figure(metrics=["clean"]), ["attack.epsilon: no attack of this item has it"]),
        (figure({"attack.epsilon": ["x"]}), ["vary.attack.epsilon = x", "attacks.pgd10", "8/255"]),
        (figure({"attack.epsilon": ["half of epsilon"]}), ["= half of epsilon", "1/2 of epsilon"]),
        (figure({"attack.epsilon": [2]}), ["vary.attack.epsilon = 2", "at most 1 for linf"]),
        (figure({"attack.epsilon": [[1]]}), ["vary.attack.epsilon = [1]", "must be a number"]),
        (figure({"attack.epsilon": ["8/255", "1 of epsilon"]}), [
            "attack.epsilon = 8/255 and attack.epsilon = 1 of epsilon", "the same place"]),
        ({"kind": "classes", "title": "C", "metrics": ["clean"],
          "grids": [{**GRID, "vary": {"attack.epsilon": [0.1]}}]},
         ["items.f.grids.0.vary.attack.epsilon: no attack of this item has it"]),
        (figure(x="method"), ["attack.epsilon = 0 and attack.epsilon = 2/255", "choose one for"]),
        (figure({"eta": [0.1]}), ["x = 'attack.epsilon'", "allowed: epoch, method, distance, eta"]),
        (figure({"attack.steps": [2, 3], "attack.step_size": ["2 of epsilon", "3 of epsilon"]},
                x="attack.steps"), ["step_size = 24/255", "2 epsilon"]),
    ],
)  # fmt: skip
def test_bad_values_get_one_line(item: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        plan(item)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_the_example_in_the_readme_is_planned() -> None:
    blocks = [block.partition("```")[0] for block in README.read_text().split("```yml\n")[1:]]
    (example,) = (yaml.safe_load(block) for block in blocks if "attack.epsilon" in block)
    made = Plan(read_config(example, "README"))
    (item,) = example["items"]
    assert {row["x"] for row in made.items[item].rows} >= {"0", "4/255", "8/255"}
    assert made.notes == []
