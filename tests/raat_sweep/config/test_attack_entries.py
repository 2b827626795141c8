"""Attacks of a config, of any registered kind, in the balls of cells."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from conftest import ATTACK_PLUGIN, GRID
from raat_core.errors import UserError
from raat_core.specs.threat_model import ThreatModel
from raat_sweep.config.attacks import AttackEntry
from raat_sweep.config.config import Config
from raat_sweep.config.reading import read_config

SQUARE: dict[str, Any] = {"kind": "my-square", "title": "Square", "queries": 500}
LINF = ThreatModel(norm="linf", epsilon=Fraction(8, 255), step_size=Fraction(2, 255))


def config(attack: dict[str, Any] = SQUARE, **more: Any) -> Config:
    table = {"kind": "table", "title": "T", "metrics": ["clean", "x"], "grids": [GRID]}
    data = {"plugins": [str(ATTACK_PLUGIN)], "attacks": {"x": attack}, "items": {"t": table}}
    return read_config({**data, **more}, "test")


def resolved(attack: dict[str, Any], threat: ThreatModel = LINF) -> dict[str, Any]:
    return config(attack).attacks["x"].resolve(threat).to_json()


def test_an_attack_of_ones_own_is_in_the_cells_ball() -> None:
    assert resolved(SQUARE) == {
        "kind": "my-square",
        "samples": None,
        "batch_size": 256,
        "seed": 0,
        "norm": "linf",
        "epsilon": "8/255",
        "queries": 500,
    }
    found = resolved({**SQUARE, "epsilon": "4/255", "samples": 20, "seed": 3, "norm": None})
    assert (found["norm"], found["epsilon"]) == ("linf", "4/255")
    assert (found["samples"], found["seed"]) == (20, 3)


def test_pgd_in_a_ball_of_its_own() -> None:
    attack = {"kind": "pgd", "title": "P", "steps": 5, "epsilon": "1/255", "step_size": "1/255"}
    found = resolved(attack)
    assert (found["norm"], found["epsilon"], found["step_size"]) == ("linf", "1/255", "1/255")
    # Whether they go together is a matter of the ball, which is not known before.
    wide = ThreatModel(norm="linf", epsilon=Fraction(1, 2), step_size=Fraction(1, 10))
    attack = {"kind": "pgd", "title": "P", "steps": 5, "step_size": "100/255"}
    entry = AttackEntry.model_validate(attack)
    assert entry.resolve(wide).to_json()["epsilon"] == "0.5"
    assert entry.resolve(wide, (("epsilon", 0),)).kind == "clean"


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ({"epsilon": "1/2 of epsilon"}, {"epsilon": "4/255", "step_size": "1/255"}),
        ({"epsilon": " 0.5  of epsilon "}, {"epsilon": "4/255"}),
        ({"step_size": "1/8 of epsilon"}, {"step_size": "1/255"}),
        ({"epsilon": "2 of epsilon", "step_size": "1/8 of epsilon"},
         {"epsilon": "16/255", "step_size": "2/255"}),
        ({"epsilon": "1/255", "step_size": "1 of epsilon"},
         {"epsilon": "1/255", "step_size": "1/255"}),
        ({"epsilon": "8/255"}, {}),
    ],
)  # fmt: skip
def test_parts_of_epsilon_are_the_same_attack_as_numbers(
    part: dict[str, Any], number: dict[str, Any]
) -> None:
    attack = {"kind": "pgd", "title": "P", "steps": 10}
    assert resolved({**attack, **part}) == resolved({**attack, **number})
    wide = ThreatModel(norm="l2", epsilon=Fraction(1, 2), step_size=Fraction(1, 8))
    found = resolved({**attack, "epsilon": "1/2 of epsilon"}, wide)
    assert (found["norm"], found["epsilon"], found["step_size"]) == ("l2", "0.25", "0.0625")
    found = resolved({**SQUARE, "epsilon": "1/4 of epsilon"})
    assert found["epsilon"] == "2/255"


def test_entries_survive_as_plain_data() -> None:
    entries = config({**SQUARE, "shards": 3, "job": "own", "epsilon": "0.5 of epsilon"}).attacks
    plain = {name: entry.model_dump(mode="json") for name, entry in entries.items()}
    assert (plain["x"]["queries"], plain["x"]["epsilon"]) == (500, "1/2 of epsilon")
    assert {name: AttackEntry.model_validate(data) for name, data in plain.items()} == entries


def test_jobs_of_slow_kinds_are_their_own() -> None:
    jobs = {name: entry.job for name, entry in config().attacks.items()}
    assert (jobs["aa"], jobs["pgd10"], jobs["x"]) == ("autoattack", "gradient", "gradient")


@pytest.mark.parametrize(
    ("attack", "parts"),
    [
        ({**SQUARE, "kind": "my-sqare"}, ["attacks.x: kind = 'my-sqare'", "mean 'my-square'?"]),
        ({**SQUARE, "query": 3}, ["attacks.x: unknown key 'query'", "did you mean 'queries'?"]),
        ({**SQUARE, "queries": 0}, ["attacks.x.queries = 0", "greater than or equal to 1"]),
        ({**SQUARE, "queries": "many"}, ["attacks.x.queries = 'many'", "valid integer"]),
        ({**SQUARE, "queries": True}, ["attacks.x: queries = True: must be a number"]),
        ({**SQUARE, "epsilon": "x"}, ["attacks.x.epsilon = 'x'", "a fraction of the pixel range"]),
        ({**SQUARE, "epsilon": "half of epsilon"}, ["attacks.x.epsilon = 'half of epsilon'",
                                                    "such as 1/2 of epsilon"]),
        ({**SQUARE, "epsilon": "1/0 of epsilon"}, ["attacks.x.epsilon = '1/0 of epsilon'"]),
        ({**SQUARE, "epsilon": "0 of epsilon"}, ["attacks.x.epsilon = '0 of epsilon'", "above 0"]),
        ({"kind": "pgd", "title": "P", "steps": 9, "step_size": "3 of epsilon"},
         ["attacks.x: step_size = 24/255", "at most 2 epsilon = 16/255"]),
        ({"kind": "my-square"}, ["attacks.x.title: is missing"]),
        ({**SQUARE, "settings": {}}, ["attacks.x: unknown key 'settings'"]),
        ({"kind": "fgsm", "title": "F", "norm": "l2"}, ["attacks.x.norm = 'l2'", "'linf'"]),
        ({**SQUARE, "samples": 999}, ["attacks.x.samples = 999", "at most 360"]),
        ([], ["attacks.x: must be a mapping"]),
    ],
)  # fmt: skip
def test_bad_settings_get_one_line(attack: Any, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        config(attack)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_an_attack_for_another_norm_is_refused_where_it_is_asked_for() -> None:
    grid = {**GRID, "threat_model": "l2"}
    table = {"kind": "table", "title": "T", "metrics": ["x"], "grids": [grid]}
    with pytest.raises(UserError, match=r"attacks\.x: norm = 'l2': .*'linf'"):
        config({"kind": "fgsm", "title": "F"}, items={"t": table})
