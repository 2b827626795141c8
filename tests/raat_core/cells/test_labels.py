"""What attacks are called: one stem in names of records, and for people all that differs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from conftest import ATTACK_PLUGIN
from raat_core.cells.evaluations import evaluation_name
from raat_core.interface.plugins import load_plugin
from raat_core.interface.registry import resolve_attack
from raat_core.specs.threat_model import ThreatModel, out_of_reach

load_plugin(str(ATTACK_PLUGIN))
LINF = ThreatModel(norm="linf", epsilon=Fraction(8, 255), step_size=Fraction(2, 255))
BALL = {"norm": "linf", "epsilon": "8/255"}
PGD: dict[str, Any] = {"kind": "pgd", **BALL, "step_size": "2/255", "steps": 10}


@pytest.mark.parametrize(
    ("attack", "label"),
    [
        (PGD, "pgd-10"),
        ({**PGD, "objective": "margin", "steps": 30}, "cw-30"),
        ({**PGD, "epsilon": "4/255", "step_size": "1/255"}, "pgd-10 ε = 4/255"),
        ({**PGD, "epsilon": "4/255"}, "pgd-10 ε = 4/255 step 2/255"),
        ({**PGD, "step_size": "1/255"}, "pgd-10 step 1/255"),
        (
            {**PGD, "norm": "l2", "epsilon": "128/255", "step_size": "32/255"},
            "pgd-10 ℓ₂ ε = 128/255",
        ),
        ({**PGD, "restarts": 5}, "pgd-10 ×5 restarts"),
        ({**PGD, "samples": 1000}, "pgd-10 on 1,000"),
        ({**PGD, "seed": 3}, "pgd-10 (seed = 3)"),
        ({**PGD, "batch_size": 7}, "pgd-10"),
        (
            {**PGD, "epsilon": "4/255", "step_size": "1/255", "restarts": 5, "samples": 1000},
            "pgd-10 ε = 4/255 ×5 restarts on 1,000",
        ),
        ({"kind": "clean"}, "clean"),
        ({"kind": "autoattack", **BALL}, "autoattack"),
        ({"kind": "autoattack", "norm": "l2", "epsilon": 0.5}, "autoattack ℓ₂ ε = 0.5"),
        ({"kind": "autoattack", **BALL, "version": "plus"}, "autoattack-plus"),
        (
            {"kind": "autoattack", **BALL, "attacks": ["fab", "square"]},
            "autoattack-custom (attacks = ['fab', 'square'])",
        ),
        ({"kind": "apgd", **BALL, "objective": "dlr", "restarts": 2}, "apgd-dlr-100 ×2 restarts"),
        ({"kind": "square", **BALL, "queries": 500, "samples": 50}, "square-500 on 50"),
        ({"kind": "my-square", **BALL}, "my-square"),
        ({"kind": "my-square", **BALL, "queries": 500}, "my-square (queries = 500)"),
        ({"kind": "fgsm", "epsilon": "8/255"}, "fgsm"),
        ({"kind": "fmn", **BALL, "steps": 50}, "fmn-50"),
        ({**PGD, "kind": "transfer"}, "transfer-pgd-10 from the next seed's"),
        (
            {**PGD, "kind": "transfer", "source": {"cell": "abc_s1_0"}, "samples": 9},
            "transfer-pgd-10 on 9 from abc_s1_0",
        ),
    ],
)
def test_labels_say_what_differs_from_the_threat_model(attack: dict[str, Any], label: str) -> None:
    assert resolve_attack(attack).label_in(LINF) == label


def test_names_of_records_do_not() -> None:
    quarter = resolve_attack({**PGD, "epsilon": "2/255", "step_size": "1/510", "restarts": 2})
    assert evaluation_name(quarter, "best").startswith("best_pgd-10_")


def test_how_far_steps_reach() -> None:
    tenth = Fraction(1, 10)
    assert out_of_reach(10, tenth, Fraction(1)) is None
    why = out_of_reach(9, tenth, Fraction(1))
    assert why is not None
    assert "9 steps of 0.1 cannot reach" in why
    assert "10 steps can, or a step_size of 5/18 of epsilon" in why
    assert resolve_attack({**PGD, "steps": 3}).out_of_reach() is not None
    assert resolve_attack({"kind": "autoattack", **BALL}).out_of_reach() is None
