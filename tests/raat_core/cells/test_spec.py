"""Cells: what their identity depends on, how they are named, what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conftest import SMALL_CELL, short_method, small_cell
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import (
    CleanEvaluation,
    EvaluationList,
    evaluation_name,
    standard_attacks,
)
from raat_core.errors import UserError
from raat_core.interface.registry import BUILT_IN_METHODS, attack_class, method_class
from raat_core.specs.recipe import Recipe
from raat_core.specs.schedule import Moment
from raat_core.validation import format_fraction, parse


def test_a_cell_survives_json() -> None:
    for method in BUILT_IN_METHODS:
        cell = small_cell(method=short_method(method))
        assert parse(Cell, json.loads(json.dumps(cell.to_json())), "test") == cell


def test_equal_specs_share_a_digest_however_they_are_written() -> None:
    plain = small_cell(method="raat")
    spelled = small_cell(method={"name": "raat", "variant": "paper", "lambda": 1, "eta": 0.1})
    fraction = small_cell(
        method="raat",
        threat_model={"norm": "linf", "epsilon": "0.15", "step_size": "1/20", "steps": 2},
    )
    assert plain.digest == spelled.digest == fraction.digest
    assert plain.name == spelled.name


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"method": "trades"},
        {"method": {"name": "pgd-at"}, "selection": {"steps": 3}},
        {"recipe": {**SMALL_CELL["recipe"], "weight_decay": 0.0}},
        {"threat_model": {**SMALL_CELL["threat_model"], "steps": 3}},
    ],
)
def test_whatever_changes_the_numbers_changes_the_digest(change: dict[str, Any]) -> None:
    assert small_cell(**change).digest != small_cell().digest


def test_a_method_version_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = small_cell().digest
    monkeypatch.setattr(method_class("pgd-at"), "version", 99)
    assert small_cell().digest != before


def test_digests_of_record() -> None:
    """These cells may lie finished on somebody's disk: a change here would train them again.

    If results really change, raise a method's version or NUMERICS_VERSION and renew the digests.
    """
    found = {name: small_cell(method=short_method(name)).digest for name in BUILT_IN_METHODS}
    path = Path(__file__).parents[1] / "digests.json"
    recorded = json.loads(path.read_text())
    assert found == {name: recorded[name] for name in recorded if not name.endswith(".yaml")}


def test_the_variant_is_derived_from_the_settings() -> None:
    def variant(**settings: Any) -> str:
        return small_cell(method={"name": "raat", **settings}).method.variant

    assert variant() == variant(eta=0.3) == "paper"
    assert variant(variant="released") == variant(variant="released", eta=0.3) == "released"
    assert variant(temperature=0.5) == variant(variant="released", temperature=1.0) == "mixed"
    pgd_at = {
        name: small_cell(method={"name": "pgd-at", "variant": name})
        for name in ("paper", "released")
    }
    assert pgd_at["paper"] == pgd_at["released"]


def test_names_are_readable_and_safe() -> None:
    cell = small_cell(method={"name": "raat", "variant": "released", "eta": 0.3})
    assert cell.name == f"digits_resnet-mini_linf_raat-released-eta-0.3_s0_{cell.digest}"


@given(st.integers(1, 254))
def test_fractions_of_255_are_printed_as_such(levels: int) -> None:
    assert format_fraction(Fraction(levels, 255)) == f"{levels}/255"


@given(st.fractions(min_value=0, max_value=10))
def test_printed_fractions_are_exact(value: Fraction) -> None:
    assert Fraction(format_fraction(value)) == value


@given(st.floats(min_value=1e-6, max_value=1))
def test_decimals_survive_a_spec(value: float) -> None:
    threat = {"norm": "linf", "epsilon": value, "step_size": value}
    assume(1 - value > 1e-12)  # 0.9999999999999999 is 1.
    cell = small_cell(threat_model=threat)
    assert parse(Cell, cell.to_json(), "test") == cell


def test_the_size_of_a_part_that_is_not_held_out_is_no_identity() -> None:
    selections = [{"split": "test", "validation_fraction": f} for f in (0.1, 0.2)]
    assert len({small_cell(selection=selection).digest for selection in selections}) == 1


@pytest.mark.parametrize(("value", "text"), [("0.05", "0.05"), ("1/3", "85/255"), ("1/7", "1/7")])
def test_other_fractions(value: str, text: str) -> None:
    assert format_fraction(Fraction(value)) == text


def test_the_learning_rate_decays_after_the_named_epochs() -> None:
    recipe = Recipe()
    rates = [
        recipe.learning_rate_at(Moment(epoch, 0, 110, 1)) for epoch in (0, 99, 100, 104, 105, 109)
    ]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_decay_factor_may_be_a_fraction() -> None:
    recipes = [Recipe.model_validate({"decay_factor": factor}) for factor in ("2/3", 2 / 3)]
    assert recipes[0] == recipes[1]
    assert recipes[0].model_dump(mode="json")["decay_factor"] == 2 / 3


BAD_CELLS: list[tuple[dict[str, Any], list[str]]] = [
    ({"method": "rat"}, ["method = 'rat'", "did you mean 'raat'?"]),
    ({"method": {"name": "raat", "etaa": 0.1}}, ["unknown key 'etaa'", "did you mean 'eta'?"]),
    ({"method": {"name": "raat", "variant": "realeased"}}, ["did you mean 'released'?"]),
    ({"method": {"name": "trades", "lambda": -1}}, ["lambda = -1", "greater than or equal to 0"]),
    ({"method": {"name": "raat", "eta": 1}}, ["eta = 1", "less than 1"]),
    ({"method": {"name": "raat", "eta": 0}}, ["eta = 0", "greater than 0"]),
    ({"method": {"eta": 0.1}}, ["method", "must be a method's name"]),
    *(
        (
            {"method": {"name": name, "reduced_for": "wrong"}},
            ["reduced_for = 'wrong'", "now called 'table-4'", "allowed: table-4, boundary ("],
        )
        for name in ("raat", "raat++")
    ),
    (
        {"method": {"name": "raat", "reduced_for": "eq-9"}},
        ["reduced_for = ", "'table-4', 'boundary' or 'released'"],
    ),
    ({"dataset": "digit"}, ["dataset = 'digit'", "did you mean 'digits'?"]),
    ({"architecture": "resnet"}, ["architecture = 'resnet'", "did you mean 'resnet-18'?"]),
    ({"sed": 1}, ["unknown key 'sed'", "did you mean 'seed'?"]),
    ({"seed": -1}, ["seed = -1", "greater than or equal to 0"]),
    (
        {"threat_model": {"norm": "linf", "epsilon": 8, "step_size": "2/255"}},
        ["epsilon = 8", "below 1 for linf", "did you mean 8/255?"],
    ),
    (
        {"threat_model": {"norm": "linf", "epsilon": "8/255", "step_size": 2}},
        ["step_size = 2", "at most 2 epsilon = 16/255"],
    ),
    (
        {"threat_model": {"norm": "linf", "epsilon": "eight", "step_size": "2/255"}},
        ["epsilon = 'eight'", "such as 8/255"],
    ),
    (
        {"threat_model": {"norm": "l1", "epsilon": 0.1, "step_size": 0.1}},
        ["norm = 'l1'", "'linf' or 'l2'"],
    ),
    ({"recipe": {"epochs": 0}}, ["recipe.epochs = 0", "greater than or equal to 1"]),
    ({"recipe": {"learning_rate": float("nan")}}, ["learning_rate", "finite"]),
    ({"recipe": {"decay_epochs": [5, 3]}}, ["decay_epochs = [5, 3]", "ascending"]),
    (
        {"recipe": {"augmentation": {"padding": "reflect", "crop_padding": 8}}},
        ["crop_padding = 8", "below 8"],
    ),
    (
        {"architecture": "preact-resnet-18-normalised"},
        ["architecture = 'preact-resnet-18-normalised'", "3 channels", "digits have 1"],
    ),
    ({"recipe": [1]}, ["recipe", "must be a mapping"]),
    ({"method": {"name": "trades", "lam": 2}}, ["unknown key 'lam'", "lambda"]),
    ({"recipe": {"decay_factor": "2/0"}}, ["decay_factor = '2/0'", "a fraction such as 2/3"]),
    ({"recipe": {"decay_factor": "3/2"}}, ["decay_factor = 1.5", "less than or equal to 1"]),
    ({"method": "wa"}, ["method.average_from = 105", "below recipe.epochs = 2"]),
    ({"method": {"name": "raat#", "average_from": 2}}, ["method.average_from = 2", "below"]),
    ({"method": {"name": "raat#", "partition_mode": "train"}}, ["unknown key 'partition_mode'"]),
    ({"selection": {"split": "train"}}, ["split = 'train'", "'test' or 'validation'"]),
]


@pytest.mark.parametrize(("change", "parts"), BAD_CELLS)
def test_bad_specs_get_one_clear_line(change: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        api.cell({**SMALL_CELL, **change}, source="spec.yaml")
    message = str(caught.value)
    assert message.startswith("spec.yaml: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_names_of_record() -> None:
    """Names that records have on disk. If an attack changes, raise its `version`."""
    threat = small_cell().threat_model
    names = [evaluation_name(attack, "best") for attack in standard_attacks(threat)]
    assert names == [
        "best_clean_66c1253f",
        "best_pgd-10_4a363183",
        "best_pgd-100_82b4b3af",
        "best_cw-30_ce94a257",
        "best_autoattack_a54bf922",
    ]
    pgd = EvaluationList(attacks=standard_attacks(threat)[:4])
    assert pgd.name == "best_65769533"


def test_a_version_of_an_attack_is_part_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    (attack,) = EvaluationList(attacks=standard_attacks(small_cell().threat_model)[-1:]).attacks
    before = evaluation_name(attack, "best"), EvaluationList(attacks=(attack,)).name
    monkeypatch.setattr(attack_class("autoattack"), "version", 3)
    after = evaluation_name(attack, "best"), EvaluationList(attacks=(attack,)).name
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert attack.to_json()["version"] == "standard"  # A setting of the same name.


def test_evaluations_are_named_by_what_they_do() -> None:
    threat = small_cell().threat_model
    names = [evaluation_name(attack, "best") for attack in standard_attacks(threat)]
    stems = [name.rsplit("_", 1)[0] for name in names]
    assert stems == ["best_clean", "best_pgd-10", "best_pgd-100", "best_cw-30", "best_autoattack"]
    assert len(set(names)) == 5
    some = CleanEvaluation(samples=10)
    assert evaluation_name(some, "best") != evaluation_name(CleanEvaluation(), "best")
    assert evaluation_name(some, "best") != evaluation_name(some, "last")
    lists = [EvaluationList(attacks=(some,)), EvaluationList(attacks=(some,), checkpoint="last")]
    assert lists[0].name.startswith("best_")
    assert lists[1].name.startswith("last_")
