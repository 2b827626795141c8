"""Attacks whose steps cannot reach the surface of their ball: refused, or a note."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import GRID
from raat_core.errors import UserError
from raat_sweep.commands.plan import show_plan
from raat_sweep.config.reading import read_config, read_config_file
from raat_sweep.plan.plan import Plan

CONFIGS = Path(__file__).resolve().parents[3] / "config"
L2 = {"norm": "l2", "epsilon": 0.8, "step_size": 0.25, "steps": 4}
PGD: dict[str, Any] = {"kind": "pgd", "title": "P", "steps": 10}


def plan(attack: dict[str, Any], *threats: str, vary: Any = None, **more: Any) -> Plan:
    grids = [{**GRID, "threat_model": name, "vary": vary or {}} for name in threats or ("linf",)]
    table = {"kind": "table", "title": "T", "metrics": ["clean", "p"], "grids": grids}
    config = {"threat_models": {"l2": L2}, "attacks": {"p": attack}, "items": {"t": table}}
    return Plan(read_config({**config, **more}, "test"))


@pytest.mark.parametrize(
    ("attack", "threat", "parts"),
    [
        (
            {**PGD, "steps": 20, "step_size": "2/255"},
            "l2",
            ["20 steps of 2/255", "epsilon = 204/255", "102 steps can", "1/8 of epsilon (2.5"],
        ),
        ({**PGD, "steps": 3}, "linf", ["3 steps of 2/255", "4 steps can", "5/6 of epsilon"]),
        ({**PGD, "steps": 1}, "linf", ["1 step of 2/255", "a step_size of 1 of epsilon, which"]),
        ({**PGD, "epsilon": 0.5, "step_size": "1/255"}, "linf", ["10 steps of 1/255"]),
        ({**PGD, "objective": "margin", "steps": 3}, "linf", ["3 steps of 2/255"]),
    ],
)
def test_they_are_refused_with_what_would_reach(
    attack: dict[str, Any], threat: str, parts: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        plan(attack, threat)
    message = str(caught.value)
    assert message.startswith("attacks.p: ")
    assert message.endswith("which items.t asks for")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_what_just_reaches_is_planned() -> None:
    assert plan({**PGD, "steps": 4}).notes == []
    assert plan({**PGD, "steps": 1, "step_size": "1 of epsilon"}).notes == []


def test_what_no_item_asks_for_is_not_refused() -> None:
    linf = {"norm": "linf", "epsilon": "8/255", "step_size": "1/255", "steps": 8}
    weak = {"weak": {**PGD, "steps": 3}}
    made = plan(PGD | {"steps": 8}, "fine", threat_models={"fine": linf}, derived={})
    assert made.notes == []
    made = plan(PGD, attacks={"p": PGD, **weak})
    assert made.notes == []


def test_a_grid_may_vary_steps_to_small_ones() -> None:
    made = plan(PGD, vary={"attack.steps": [1, 2, 4, 10]})
    steps = [attack.to_json()["steps"] for attack in lists(made) if attack.kind == "pgd"]
    assert steps == [1, 2, 4, 10]
    assert [note.partition(":")[0] for note in made.notes] == ["note"] * 2
    assert "attacks.p with attack.steps = 1: 1 step of 2/255 cannot reach" in made.notes[0]


def lists(made: Plan) -> list[Any]:
    return [attack for one in made.jobs.lists.values() for attack in one.attacks]


def test_weak_training_and_selection_are_noted_once() -> None:
    linf = {"norm": "linf", "epsilon": "8/255", "step_size": "2/255", "steps": 3}
    made = plan(PGD, threat_models={"linf": linf}, selection={"steps": 2})
    training, choosing = made.notes
    assert training.startswith("note: the training attack (ℓ∞, digits) is weak: 3 steps of 2/255")
    assert choosing.startswith(
        "note: the attack that chooses the best checkpoint (ℓ∞, digits) is weak: 2 steps of 2/255"
    )
    made = plan(PGD, attacks={"p": PGD, "s": {**PGD, "steps": 2}}, selection={"by": "s"})
    assert len(made.notes) == 1
    # As fast trainings do: one step from a random start.
    fgsm = {"norm": "linf", "epsilon": "8/255", "step_size": "10/255", "steps": 1}
    made = plan({**PGD, "step_size": "1/4 of epsilon"}, threat_models={"linf": fgsm})
    assert made.notes == []


def test_a_step_size_is_not_shared_by_norms() -> None:
    attack = {**PGD, "step_size": 0.1}
    assert plan(attack, "l2").notes == []
    linf = {"norm": "linf", "epsilon": 0.5, "step_size": 0.1}
    threats = {"l2": L2, "linf": linf}
    with pytest.raises(UserError, match=r"attacks\.p\.step_size = 0\.1: .* l2 and linf") as caught:
        plan(attack, "linf", "l2", threat_models=threats)
    assert "`1/4 of epsilon`" in str(caught.value)
    part = plan({**PGD, "step_size": "1/4 of epsilon"}, "linf", "l2", threat_models=threats)
    steps = {a.to_json()["norm"]: a.to_json()["step_size"] for a in lists(part) if a.kind == "pgd"}
    assert steps == {"linf": "0.125", "l2": "51/255"}


def test_a_step_size_in_very_different_balls_is_noted() -> None:
    wide = {"norm": "linf", "epsilon": "24/255", "step_size": "6/255"}
    made = plan({**PGD, "step_size": "3/255"}, "linf", "wide", threat_models={"wide": wide})
    (note,) = made.notes
    assert note.startswith("note: attacks.p.step_size = 3/255 is the same in balls of 8/255 to 24")
    assert "1/4 of epsilon" in note
    assert plan(PGD, "linf", "wide", threat_models={"wide": wide}).notes == []


def test_another_norm_needs_a_radius_of_its_own() -> None:
    for epsilon in (None, "1/2 of epsilon"):
        with pytest.raises(UserError, match=r"attacks\.p: norm = 'l2': needs an epsilon .* linf"):
            plan({**PGD, "norm": "l2", "epsilon": epsilon})
    made = plan({**PGD, "norm": "l2", "epsilon": "128/255"})
    (attack,) = (attack for attack in lists(made) if attack.kind == "pgd")
    # The threat model's steps are a quarter of its radius.
    assert attack.to_json()["step_size"] == "32/255"
    assert attack.label_in(next(iter(made.cells.values())).threat_model) == "pgd-10 ℓ₂ ε = 128/255"


def test_the_plan_prints_the_notes(tmp_path: Path) -> None:
    text = show_plan(CONFIGS / "demo.yaml", ["table5"])
    assert "note: the training attack (ℓ₂, digits) is weak: 3 steps of 0.25" in text


def test_shipped_configs_are_planned_without_more() -> None:
    for name, count in (("config", 0), ("released", 0), ("demo", 1)):
        notes = Plan(read_config_file(CONFIGS / f"{name}.yaml")).notes
        assert sum("weak" in note for note in notes) == count
