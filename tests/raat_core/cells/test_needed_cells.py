"""Cells that need cells: what is inherited, what is part of a digest, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import SMALL_CELL, TOY_DISTILLATION, small_cell
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.errors import UserError
from raat_core.interface.registry import method_class


@pytest.fixture(autouse=True)
def _distillation() -> None:
    api.load_plugin(str(TOY_DISTILLATION))


def student(**teacher: Any) -> Cell:
    return small_cell(method={"name": "distillation", "teacher": {"method": "pgd-at", **teacher}})


def test_what_is_not_given_is_the_needing_cells() -> None:
    needs = student().needs
    assert needs == {"teacher": (small_cell(), "best")}
    recipe = {**SMALL_CELL["recipe"], "epochs": 1, "decay_epochs": []}
    cell, checkpoint = student(seed=3, recipe=recipe, checkpoint="last").needs["teacher"]
    assert (cell, checkpoint) == (small_cell(seed=3, recipe=recipe), "last")
    cell, _ = student(architecture="resnet-18", selection={"steps": 3}).needs["teacher"]
    assert cell == small_cell(architecture="resnet-18", selection={"steps": 3})


def test_a_need_has_needs_of_its_own() -> None:
    inner = {"name": "distillation", "teacher": {"method": "trades", "seed": 5}}
    cell = student(method=inner, seed=2)
    (middle, _) = cell.needs["teacher"]
    assert middle == small_cell(method=inner, seed=2)
    assert middle.needs["teacher"].cell == small_cell(method="trades", seed=5)


def test_a_spec_that_is_stored_is_the_same_cell() -> None:
    threat = {**SMALL_CELL["threat_model"], "epsilon": "8/255", "step_size": "2/255"}
    for cell in (student(), student(seed=1, recipe={"epochs": 3}, threat_model=threat)):
        again = Cell.model_validate(cell.to_json())
        assert again == cell
        assert again.name == cell.name


def test_names_are_readable() -> None:
    teacher = {"name": "distillation", "teacher": {"method": "trades"}}
    assert "_distillation-teacher-pgd-at_s0_" in student().name
    assert "_distillation-teacher-distillation_s0_" in student(method=teacher).name
    assert student().method.distinctive() == {"teacher": "pgd-at"}


def test_another_version_of_the_helper_is_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    before = student().digest
    monkeypatch.setattr(method_class("pgd-at"), "version", 99)
    assert student().digest != before
    assert student(method="trades").digest == student(method="trades").digest


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"method": "pgd"}, "method.teacher.method = 'pgd': unknown method; did you mean 'pgd-at'"),
        ({"recipe": "short"}, "method.teacher.recipe = 'short': must be a mapping"),
        ({"recipe": {"epoch": 3}}, "method.teacher.recipe: unknown key 'epoch'"),
        ({"recipes": {}}, "method.teacher: unknown key 'recipes'; did you mean 'recipe'"),
        ({"dataset": "digit"}, "method.teacher: dataset = 'digit': unknown data set"),
        ({"architecture": "resnet"}, "method.teacher: architecture = 'resnet': unknown"),
        ({"selection": {"step": 3}}, "method.teacher: selection: unknown key 'step'"),
        ({"checkpoint": "first"}, "method.teacher.checkpoint = 'first'"),
        ({"seed": -1}, "method.teacher.seed = -1"),
        (
            {"dataset": "cifar10"},
            "method.teacher.dataset = 'cifar10': its network takes images of 3",
        ),
    ],
)
def test_mistakes_are_one_line_with_their_place(teacher: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        student(**teacher)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def with_extra(**extra: Any) -> Cell:
    return small_cell(extra_data={"dataset": "digits", **extra})


def test_extra_data_is_part_of_the_cell_and_not_handed_on() -> None:
    cell = with_extra(labels={"method": "trades"}, share=0.25)
    assert cell.digest != small_cell().digest
    assert "-extra-digits_s0_" in cell.name
    assert cell.needs == {"extra_data.labels": (small_cell(method="trades"), "best")}
    assert Cell.model_validate(cell.to_json()) == cell
    assert "extra_data" not in small_cell().to_json()


def test_extra_data_and_the_length_of_an_epoch() -> None:
    facts, plain = with_extra(share=0.25).facts(136, 60), small_cell().facts(136)
    assert (facts.extra_size, facts.extra_per_batch, facts.steps_per_epoch) == (60, 8, 6)
    assert (plain.extra_size, plain.extra_per_batch, plain.steps_per_epoch) == (0, 0, 5)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"dataset": "cifar10"}, "has images of 3 × 32 × 32, those of digits are 1 × 8 × 8"),
        ({"share": 0.01}, "extra_data.share = 0.01: of a batch of 32 samples, at least one"),
        ({"share": 1.0}, "extra_data.share = 1.0"),
        ({"labels": "give"}, "extra_data.labels = 'give': unknown labels; did you mean 'given'?"),
        ({"labels": {"method": "pgdat"}}, "extra_data.labels.method = 'pgdat': unknown method"),
        (
            {"labels": {"method": "pgd-at", "dataset": "cifar10"}},
            "extra_data.labels.dataset = 'cifar10': must have images of 1 × 8 × 8 and at most 10",
        ),
    ],
)
def test_extra_data_that_cannot_be(extra: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        with_extra(**extra)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
