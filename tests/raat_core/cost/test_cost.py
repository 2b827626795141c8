"""Costs told from specs are what whole trainings and attacks come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import SMALL_CELL, small_cell
from flops import counted_flop
from raat_core import api
from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.evaluations import (
    AutoAttackEvaluation,
    CleanEvaluation,
    Evaluation,
    PgdEvaluation,
)
from raat_core.cost.flop import (
    Accuracies,
    evaluation_flop,
    evaluation_passes,
    operations_of,
    training_flop,
)
from raat_core.data.dataset import DataSet
from raat_core.evaluation.authors import Apgd, AutoAttack, Square
from raat_core.evaluation.authors_costs import passes_in_turn
from raat_core.evaluation.batch import Samples, predict_batch, run_attack
from raat_core.interface.attack import Attack, Work
from raat_core.interface.operations import Operations, Passes
from raat_core.interface.registry import build_attack, resolve_attack

BALL: dict[str, Any] = {"norm": "linf", "epsilon": 0.1, "step_size": 0.05}


@pytest.fixture
def few(small_data: DataSet, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """`small_data`, whose sizes the catalogue has for digits."""
    train, test = len(small_data.train), len(small_data.test)
    info = replace(DATA_SETS["digits"], train_size=train, test_size=test)
    monkeypatch.setitem(DATA_SETS, "digits", info)
    return small_data


@pytest.mark.parametrize(
    "selection",
    [
        {"steps": 2},
        {"steps": 3, "every": 2},
        {"steps": 2, "split": "validation", "validation_fraction": 0.25},
    ],
    ids=str,
)
def test_a_whole_training(selection: dict[str, Any], few: DataSet, tmp_path: Path) -> None:
    recipe = {**SMALL_CELL["recipe"], "epochs": 3}
    cell = small_cell(selection=selection, recipe=recipe, method="trades")
    counted = counted_flop(lambda: api.train(cell, tmp_path / "cell", device="cpu", data=few))
    assert training_flop(cell) == pytest.approx(counted, rel=0.02)


def test_what_is_left_of_a_training() -> None:
    recipe = {**SMALL_CELL["recipe"], "epochs": 5}
    cell = small_cell(recipe=recipe, selection={"steps": 2, "every": 3})
    data = DATA_SETS["digits"]
    model = operations_of(cell)
    epoch = data.train_size * Passes(gradients=2, updates=1).flop(model)
    look = data.test_size * Passes(forwards=2, gradients=2).flop(model)
    left = [training_flop(cell, done=done) for done in range(7)]
    # Epochs 3 and 5, the last, are evaluated.
    expected = [5 * epoch + 2 * look, 4 * epoch + 2 * look, 3 * epoch + 2 * look]
    expected += [2 * epoch + look, epoch + look, 0.0, 0.0]
    assert left == pytest.approx(expected)


def test_accuracies_tell_how_many_samples_are_kept() -> None:
    cell = small_cell(method={"name": "raat", "variant": "released"})
    low, high = (training_flop(cell, Accuracies(clean, 0.1)) for clean in (0.5, 1.0))
    kept = 0.5 * DATA_SETS["digits"].train_size * operations_of(cell).update
    assert high - low == pytest.approx(2 * kept)


ATTACKS: list[Evaluation] = [
    CleanEvaluation(),
    PgdEvaluation(**BALL, steps=4, restarts=2),
    PgdEvaluation(**BALL, steps=3, objective="margin"),
    PgdEvaluation(**BALL, steps=3, objective="kl"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.label)
def test_a_gradient_attack(attack: Evaluation, few: DataSet, tmp_path: Path) -> None:
    cell = small_cell()
    model = api.load(api.train(cell, tmp_path / "cell", device="cpu", data=few), device="cpu")
    images, labels = few.test.batch(torch.arange(len(few.test)))
    counted = counted_flop(lambda: predict_batch(model, attack, 0, images, labels))
    assert evaluation_flop(cell, attack) == counted


def test_only_attacked_samples_count() -> None:
    cell = small_cell()
    assert evaluation_flop(cell, CleanEvaluation(samples=7)) == 7 * operations_of(cell).forward


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """Of the small cell, on all digits."""
    folder = tmp_path_factory.mktemp("trained") / "cell"
    digits = api.load_data_set("digits")
    return api.load(api.train(small_cell(), folder, device="cpu", data=digits), device="cpu")


def by_outcome(attack: Attack, model: nn.Module) -> tuple[Work, Passes]:
    """What an attack took on four misclassified digits and twenty others, and what is told of it.

    Of the others, some have to break and some to withstand it.
    """
    digits = api.load_data_set("digits")
    images, labels = digits.test.batch(torch.arange(len(digits.test)))
    correct = model(images).argmax(1) == labels
    wrong, right = (~correct).nonzero()[:4, 0], correct.nonzero()[:20, 0]
    chosen = torch.cat([wrong, right])
    outcome = run_attack(attack, model, Samples(images[chosen], labels[chosen], chosen, 0))
    assert outcome.classes is not None
    standing = int((outcome.classes == labels[chosen]).sum())
    assert 4 <= standing <= 16
    assert isinstance(attack, AutoAttack | Apgd | Square)
    shares = 20 / 24, standing / 24
    told = passes_in_turn(attack.efforts(10), 10, *shares, attack.repeats)
    return sum(outcome.work.values(), Work(0, 0, 0)), 24 * told


@pytest.mark.parametrize(
    ("settings", "norm", "epsilon"),
    [
        ({"kind": "apgd", "steps": 20, "restarts": 2}, "linf", 0.1),
        ({"kind": "apgd", "steps": 20, "objective": "dlr-targeted"}, "l2", 0.4),
        ({"attacks": ["fab", "apgd-dlr"]}, "linf", 0.1),
        ({}, "linf", 0.1),
        pytest.param({}, "l2", 0.4, marks=pytest.mark.slow),
        pytest.param({"kind": "square"}, "l2", 0.4, marks=pytest.mark.slow),
        pytest.param({"version": "rand"}, "linf", 0.1, marks=pytest.mark.slow),
        pytest.param({"version": "plus"}, "linf", 0.1, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_attacks_of_autoattack_by_outcome(
    settings: dict[str, Any], norm: str, epsilon: float, trained: nn.Module
) -> None:
    """On samples of which some are misclassified, some break, and some withstand all attacks."""
    given = {"kind": "autoattack", "norm": norm, "epsilon": epsilon, **settings}
    counted, told = by_outcome(build_attack(resolve_attack(given)), trained)
    assert told.gradients == pytest.approx(counted.gradients, rel=0.1)
    # Of a forward with several gradients, all but the first are no forward.
    assert told.forwards + told.gradients == pytest.approx(counted.forwards, rel=0.1)


def test_autoattack_costs_what_samples_withstand() -> None:
    model = Operations(forward=1.0, stem=0.0)
    attack = AutoAttackEvaluation(norm="linf", epsilon=BALL["epsilon"])

    def flop(clean: float, robust: float, classes: int = 10) -> float:
        return evaluation_passes(attack, classes, Accuracies(clean, robust)).flop(model)

    looks = 5 + 1
    assert flop(0.0, 0.0) == looks
    assert flop(1.0, 0.0) == looks + 2 + 2 * 101
    assert flop(1.0, 1.0) == pytest.approx(looks + 0.85 * (5946 + 2 * 1910) + 0.15 * 204)
    assert flop(1.0, 1.0, classes=200) == flop(1.0, 1.0)
    assert flop(1.0, 1.0, classes=4) < flop(1.0, 1.0)
    # PGD's accuracy may be above the clean one of another split.
    assert flop(0.5, 0.9) <= flop(1.0, 0.9)
