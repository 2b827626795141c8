"""Costs told from specs are what whole trainings and attacks come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import SMALL_CELL, small_cell
from flops import counted_flop
from raat_core import api
from raat_core.attacks.autoattack import run_autoattack
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
from raat_core.evaluation.attacks import autoattack_passes
from raat_core.evaluation.batch import predict_batch
from raat_core.interface.operations import Operations, Passes

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


class Counting(nn.Module):
    """Counts images that are forwarded, and those whose gradient is taken."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwarded, self.gradients = model, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwarded += len(images)
        if images.requires_grad:
            images = images.view_as(images)
            images.register_hook(self._count)  # type: ignore[no-untyped-call]
        logits: Tensor = self.model(images)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


@pytest.mark.parametrize(
    ("norm", "epsilon"), [("linf", 0.1), pytest.param("l2", 0.4, marks=pytest.mark.slow)]
)
def test_autoattack_by_outcome(norm: str, epsilon: float, tmp_path: Path) -> None:
    """On samples of which some are misclassified, some break, and some withstand all attacks."""
    digits = api.load_data_set("digits")
    folder = api.train(small_cell(), tmp_path / "cell", device="cpu", data=digits)
    model = Counting(api.load(folder, device="cpu")).eval()
    images, labels = digits.test.batch(torch.arange(len(digits.test)))
    with torch.no_grad():
        correct = model(images).argmax(1) == labels
    wrong, right = (~correct).nonzero()[:4, 0], correct.nonzero()[:20, 0]
    chosen = torch.cat([wrong, right])
    settings = AutoAttackEvaluation.model_validate({"norm": norm, "epsilon": epsilon})
    model.forwarded = model.gradients = 0
    predictions = run_autoattack(model, images[chosen], labels[chosen], settings)[1]
    standing = int((predictions == labels[chosen]).sum())
    assert 4 <= standing <= 16
    told = 24 * autoattack_passes(10, 20 / 24, standing / 24)
    assert told.gradients == pytest.approx(model.gradients, rel=0.1)
    assert told.forwards == pytest.approx(model.forwarded - model.gradients, rel=0.1)


def test_autoattack_costs_what_samples_withstand() -> None:
    model = Operations(forward=1.0, stem=0.0)
    attack = AutoAttackEvaluation(norm="linf", epsilon=BALL["epsilon"])

    def flop(clean: float, robust: float, classes: int = 10) -> float:
        return evaluation_passes(attack, classes, Accuracies(clean, robust)).flop(model)

    assert flop(0.0, 0.0) == 8
    assert flop(1.0, 0.0) == 10 + 2 * 101
    assert flop(1.0, 1.0) == pytest.approx(0.85 * (5954 + 2 * 1910) + 0.15 * 212)
    assert flop(1.0, 1.0, classes=200) == flop(1.0, 1.0)
    assert flop(1.0, 1.0, classes=4) < flop(1.0, 1.0)
    # PGD's accuracy may be above the clean one of another split.
    assert flop(0.5, 0.9) <= flop(1.0, 0.9)
