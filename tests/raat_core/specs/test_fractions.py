"""ε and step sizes: what is written, as a number or a text, is the fraction that it means."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from conftest import SMALL_CELL, small_cell
from raat_core import api
from raat_core.cells.evaluations import AutoAttackEvaluation, PgdEvaluation
from raat_core.errors import UserError
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import PixelFraction, Ratio, parse

read = TypeAdapter(PixelFraction).validate_python
EXACT: dict[str, Any] = {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"}


@given(st.integers(1, 255 * 4), st.sampled_from([1, 2, 3, 4, 8, 10, 16, 40, 100]))
def test_a_float_is_the_fraction_that_it_was_computed_from(levels: int, parts: int) -> None:
    exact = Fraction(levels, 255 * parts)
    for value in (levels / parts / 255, levels * (1 / 255) / parts, levels / (255 * parts)):
        assert read(value) == exact
        assert read(str(value)) == exact
        assert read(np.float64(value)) == exact
        assert read(Fraction(value)) == exact


@given(st.integers(1, 255), st.sampled_from([1, 2, 4, 5, 10]))
def test_so_is_one_of_single_precision(levels: int, parts: int) -> None:
    value = np.float32(levels / parts) / np.float32(255)
    rounded = np.float32(levels / (255 * parts))
    assert read(rounded) == Fraction(levels, 255 * parts)
    assert read(rounded.item()) == Fraction(levels, 255 * parts)
    assert value.dtype == np.float32


@given(st.decimals("1e-6", 300, places=11))
def test_a_decimal_by_hand_stays_as_it_is_written(value: Any) -> None:
    assert read(str(value)) == Fraction(value)


@pytest.mark.parametrize(
    "text", ["0.031", "0.0314", "0.0313", "0.03137", "0.0313725490", "0.007843137", "0.00784", "1"]
)
def test_decimals_that_were_cut_are_not_guessed_at(text: str) -> None:
    assert read(text) == read(float(text)) == Fraction(text)


@pytest.mark.parametrize(
    "text",
    ["8/255", "8./255", "8/255.", "8.0/255", " 8 / 255 ", "0.8e1/255", "16/510", "8.00/255.0"],
)
def test_how_eight_levels_may_be_written(text: str) -> None:
    assert read(text) == Fraction(8, 255)


@pytest.mark.parametrize(
    "value",
    [
        "8/",
        "/255",
        "8/0",
        "8/0.",
        "8/255/2",
        "a/b",
        "nan",
        "inf",
        "1e999/255",
        "",
        "8//255",
        float("nan"),
        float("inf"),
        True,
        None,
        [8],
        10**400,
        "9" * 200,
    ],
)
def test_what_is_no_fraction_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="such as 8/255"):
        read(value)


def test_a_ratio_is_written_as_freely() -> None:
    ratio = TypeAdapter(Ratio).validate_python
    assert ratio("2./3") == ratio(" 2 / 3.0") == ratio("2/3") == 2 / 3


@pytest.mark.parametrize(
    ("epsilon", "step_size"),
    [
        (8 / 255, 2 / 255),
        ("8/255.", "2./255"),
        (np.float64(8) / 255, 8 / 255 / 4),
        json.loads(json.dumps([8 / 255, 2 / 255])),
        yaml.safe_load("[0.03137254901960784, 0.00784313725490196]"),
    ],
)
def test_cells_and_records_are_those_of_the_fraction(epsilon: Any, step_size: Any) -> None:
    written = {"norm": "linf", "epsilon": epsilon, "step_size": step_size}
    exact = small_cell(threat_model=EXACT)
    assert api.cell({**SMALL_CELL, "threat_model": written}) == exact
    assert small_cell(threat_model=written).name == exact.name
    attack = PgdEvaluation.model_validate({**written, "steps": 10})
    assert attack == PgdEvaluation.model_validate({**EXACT, "steps": 10})
    assert attack.to_json()["epsilon"] == "8/255"


def test_half_a_level() -> None:
    texts = ["0.5/255", "1/510", 0.5 / 255, ".5/255."]
    assert {read(text) for text in texts} == {Fraction(1, 510)}


ALL: list[dict[str, Any]] = [
    {"norm": "linf", "epsilon": 1},
    {"norm": "linf", "epsilon": "255/255"},
    {"norm": "l2", "epsilon": 8},
    {"norm": "l2", "epsilon": 56},
    {"norm": "l2", "epsilon": 1000},
]


@pytest.mark.parametrize("ball", ALL)
def test_an_attack_may_have_a_ball_of_all_images(ball: dict[str, Any]) -> None:
    assert parse(AutoAttackEvaluation, ball, "x").epsilon == Fraction(ball["epsilon"])
    parse(PgdEvaluation, {**ball, "step_size": 0.25, "steps": 10}, "x")
    with pytest.raises(UserError, match=r"epsilon = .*: must be above 0 .* and below [15] for"):
        parse(ThreatModel, {**ball, "step_size": 0.25}, "x")


@pytest.mark.parametrize(
    ("ball", "said"),
    [
        ({"norm": "linf", "epsilon": 8}, "at most 1 for linf.*did you mean 8/255?"),
        ({"norm": "linf", "epsilon": 1.5}, "at most 1 for linf"),
        ({"norm": "l2", "epsilon": 1001}, "at most 1000 for l2"),
        ({"norm": "linf", "epsilon": 0}, "above 0"),
    ],
)
def test_but_no_larger_one(ball: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse(AutoAttackEvaluation, ball, "x")
