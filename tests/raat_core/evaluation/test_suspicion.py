"""Numbers that should not be believed are named: masked gradients, attacks that contradict."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import SMALL_CELL, small_cell
from raat_core import api
from raat_core.cells.evaluations import (
    AutoAttackEvaluation,
    Evaluation,
    EvaluationList,
    PgdEvaluation,
)
from raat_core.cells.folder import CellFolder
from raat_core.commands.show import describe
from raat_core.data.dataset import DataSet
from raat_core.evaluation import run
from raat_core.evaluation.records import Record
from raat_core.evaluation.run import evaluate_cell, load_model
from raat_core.evaluation.suspicion import suspicions
from raat_core.interface.registry import resolve_attack

BALL: dict[str, Any] = {"norm": "linf", "epsilon": Fraction(3, 20), "step_size": Fraction(1, 20)}
PGD10 = PgdEvaluation(**BALL, steps=10)
PGD100 = PgdEvaluation(**BALL, steps=100)
CW = PgdEvaluation(**BALL, steps=30, objective="margin")
AA = AutoAttackEvaluation(norm="linf", epsilon=Fraction(3, 20))
SQUARE = resolve_attack({"kind": "square", "norm": "linf", "epsilon": "3/20"})
TRANSFER = resolve_attack({"kind": "transfer", **BALL, "steps": 10})


def record(
    attack: Evaluation, right: int, of: int = 100, first: int = 0, **metadata: Any
) -> Record:
    """Of `of` images from `first` on, the first `right` withstand."""
    index = np.arange(first, first + of, dtype=np.int32)
    label = np.zeros(of, np.int32)
    prediction = (np.arange(of) >= right).astype(np.int32)
    return Record(index, label, prediction, {"attack": attack.to_json(), **metadata})


def test_what_is_as_it_should_be() -> None:
    usual = [record(PGD10, 52), record(PGD100, 51), record(CW, 48), record(AA, 46)]
    assert suspicions(usual) == []
    assert suspicions([]) == []


@pytest.mark.parametrize("strong", [CW, AA, SQUARE, TRANSFER], ids=lambda attack: attack.label)
def test_pgd_far_above_a_stronger_attack(strong: Evaluation) -> None:
    large = {"of": 10_000}
    assert suspicions([record(PGD100, 5800, **large), record(strong, 5000, **large)]) == []
    weak = record(PGD10, 7000, **large), record(PGD100, 5900, **large)
    (said,) = suspicions([*weak, record(strong, 5000, **large)])
    assert "9.0 points above" in said
    assert "gradients may be masked" in said
    # Three standard errors on 40 images: 20 points may be chance, 25 are not.
    assert suspicions([record(PGD100, 28, of=40), record(strong, 20, of=40)]) == []
    assert len(suspicions([record(PGD100, 29, of=40), record(strong, 20, of=40)])) == 1


def test_the_same_images_are_compared() -> None:
    """AutoAttack's twenty images are harder than the others, not masked."""
    hard, easy = record(AA, 5, of=20), record(PGD100, 85)
    last_are_right = replace(easy, prediction=easy.prediction[::-1])
    assert last_are_right.accuracy - hard.accuracy == 60
    assert suspicions([last_are_right, hard]) == []
    assert suspicions([record(PGD100, 90), record(AA, 5, of=20, first=200)]) == []


def test_another_ball_is_not_compared() -> None:
    large = AutoAttackEvaluation(norm="linf", epsilon=Fraction(3, 10))
    assert suspicions([record(PGD100, 58), record(large, 10)]) == []


def test_more_steps_help() -> None:
    assert suspicions([record(PGD10, 500, of=1000), record(PGD100, 505, of=1000)]) == []
    (said,) = suspicions([record(PGD10, 50), record(PGD100, 54)])
    assert "more steps helped the model" in said
    assert "4.0 points" in said
    # As many as the random starts make.
    assert suspicions([record(PGD10, 10, of=20), record(PGD100, 12, of=20)]) == []


def test_a_larger_epsilon_helps() -> None:
    small, large = (
        PgdEvaluation(norm="linf", epsilon=epsilon, step_size=epsilon / 4, steps=10)
        for epsilon in (Fraction(8, 255), Fraction(16, 255))
    )
    assert suspicions([record(small, 50), record(large, 20)]) == []
    (said,) = suspicions([record(small, 50), record(large, 53)])
    assert "a larger epsilon helped the model" in said


def test_flags_of_a_record_are_passed_on() -> None:
    assert suspicions([record(AA, 50, flags=["Square is stronger"])]) == [
        "autoattack: Square is stronger"
    ]


# Models whose gradients lie


@pytest.fixture(scope="module")
def data() -> DataSet:
    digits = api.load_data_set("digits")
    return DataSet(digits.train, digits.test.take(torch.arange(120)), digits.classes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: DataSet) -> CellFolder:
    recipe = {**SMALL_CELL["recipe"], "epochs": 6, "decay_epochs": [5]}
    folder = tmp_path_factory.mktemp("trained")
    return CellFolder(api.train(small_cell(recipe=recipe), folder, device="cpu", data=data))


class Quantised(nn.Module):
    """Rounds its input, as some defences did: no gradient comes through."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model((images * 16).round() / 16)
        return logits


def scaled(model: nn.Module, factor: float) -> nn.Module:
    """The same decisions, and a cross-entropy that saturates."""
    (*_, last) = [each for each in model.modules() if isinstance(each, nn.Linear)]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(factor)
    return model


MASKED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "as trained": lambda model: model,
    "times 10": lambda model: scaled(model, 10),
    "times 100": lambda model: scaled(model, 100),
    "times 1000": lambda model: scaled(model, 1000),
    "quantised": lambda model: Quantised(model).eval(),
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_gradients_are_marked(
    name: str,
    trained: CellFolder,
    data: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = CellFolder(tmp_path / "cell")
    shutil.copytree(trained.path, folder.path)
    monkeypatch.setattr(run, "load_model", lambda *given: MASKED[name](load_model(*given)))
    weak = {**BALL, "epsilon": Fraction(1, 20), "step_size": Fraction(1, 60)}
    attacks = tuple(
        PgdEvaluation(**weak, steps=steps, objective=objective)
        for steps, objective in ((20, "cross-entropy"), (20, "margin"))
    )
    found = evaluate_cell(folder, EvaluationList(attacks=attacks), data, torch.device("cpu"))
    records = [Record.read(folder.record(each["record"])) for each in found["attacks"]]
    said = suspicions(records)
    assert bool(said) == (name != "as trained"), (said, [each.accuracy for each in records])
    lines = [line for line in describe(folder).splitlines() if "suspicious" in line]
    assert sorted(lines) == sorted(f"suspicious (best): {each}" for each in said)
