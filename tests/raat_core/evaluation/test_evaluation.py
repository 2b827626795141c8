"""Evaluation: its protocol, its records, and that nothing is computed twice."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import small_cell
from raat_core import api
from raat_core.cells.evaluations import (
    AutoAttackEvaluation,
    CleanEvaluation,
    Evaluation,
    EvaluationList,
    PgdEvaluation,
)
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import write_spec
from raat_core.data.dataset import DataSet
from raat_core.data.sampling import stratified
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation.accuracy import predict
from raat_core.evaluation.batch import attack_batch, predict_batch
from raat_core.evaluation.records import Record
from raat_core.evaluation.run import evaluate_cell
from raat_core.models.build import build_model

BALL: dict[str, Any] = {"norm": "linf", "epsilon": 0.15, "step_size": 0.05}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    folder = tmp_path_factory.mktemp("cell")
    return CellFolder(api.train(small_cell(), folder, device="cpu", data=small_data))


def evaluate(
    folder: CellFolder, data: DataSet, *attacks: Evaluation, **more: Any
) -> dict[str, Any]:
    evaluations = EvaluationList(attacks=attacks, **more)
    return evaluate_cell(folder, evaluations, data, CPU)


def test_a_model_in_training_mode_is_refused(small_data: DataSet) -> None:
    model = build_model("resnet-mini", 1, 10, seed=0)
    with pytest.raises(ValueError, match="in training mode"):
        predict(model.train(), small_data.test, batch_size=10)
    with pytest.raises(ValueError, match="in training mode"):
        predict_batch(model, CleanEvaluation(), 0, *small_data.test.batch(torch.arange(10)))
    model.eval().get_submodule("bn1").train()
    with pytest.raises(ValueError, match="module 'bn1' is in training mode"):
        predict(model, small_data.test, batch_size=10)


def test_a_record_holds_every_sample_and_what_qualifies_it(
    trained: CellFolder, small_data: DataSet
) -> None:
    attack = PgdEvaluation(**BALL, steps=3)
    summary = evaluate(trained, small_data, CleanEvaluation(), attack)
    clean, attacked = (Record.read(trained.record(entry["record"])) for entry in summary["attacks"])
    assert np.array_equal(clean.index, np.arange(60))
    assert np.array_equal(clean.label, small_data.test.labels.numpy())
    assert attacked.accuracy <= clean.accuracy
    assert summary["attacks"][1]["accuracy"] == attacked.accuracy
    assert attacked.metadata["attack"] == attack.to_json()
    assert attacked.metadata["checkpoint"] == "best"
    assert attacked.metadata["split"] == "test"
    assert attacked.metadata["epoch"] == read_manifest(trained)["best"]["epoch"]
    model = api.load(trained.path, device="cpu")
    images, labels = small_data.test.batch(torch.arange(60))
    assert np.array_equal(clean.prediction, model(images).argmax(1).int().numpy())
    assert np.array_equal(clean.label, labels.numpy())


def test_both_checkpoints_can_be_attacked(trained: CellFolder, small_data: DataSet) -> None:
    names = {
        evaluate(trained, small_data, CleanEvaluation(), checkpoint=checkpoint)["attacks"][0][
            "record"
        ]
        for checkpoint in ("best", "last")
    }
    assert len(names) == 2


def test_a_part_of_the_test_set_is_of_all_classes(trained: CellFolder, small_data: DataSet) -> None:
    summary = evaluate(trained, small_data, CleanEvaluation(samples=20))
    record = Record.read(trained.record(summary["attacks"][0]["record"]))
    assert np.array_equal(record.index, stratified(small_data.test.labels, 20))
    with pytest.raises(UserError, match="samples = 61: the test set has 60 images"):
        evaluate(trained, small_data, CleanEvaluation(samples=61))


def test_what_is_recorded_is_not_attacked_again(
    trained: CellFolder, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = PgdEvaluation(**BALL, steps=1), PgdEvaluation(**BALL, steps=2)
    evaluate(trained, small_data, first)
    asked = []

    def note(model: nn.Module, evaluation: Evaluation, *more: Any) -> Any:
        asked.append(evaluation)
        return attack_batch(model, evaluation, *more)

    monkeypatch.setattr("raat_core.evaluation.run.attack_batch", note)
    summary = evaluate(trained, small_data, first, second)
    assert asked == [second]
    assert len(summary["attacks"]) == 2


def test_restarts_keep_the_first_success(trained: CellFolder, small_data: DataSet) -> None:
    model = api.load(trained.path, device="cpu")
    images, labels = small_data.test.batch(torch.arange(60))
    once = predict_batch(model, PgdEvaluation(**BALL, steps=1), 0, images, labels)
    thrice = predict_batch(model, PgdEvaluation(**BALL, steps=1, restarts=3), 0, images, labels)
    fooled = once != labels
    assert torch.equal(thrice[fooled], once[fooled])
    assert (thrice != labels).sum() >= fooled.sum()


def test_an_interrupted_evaluation_keeps_finished_attacks(
    tmp_path: Path, small_data: DataSet
) -> None:
    folder = CellFolder(api.train(small_cell(), tmp_path, device="cpu", data=small_data))
    calls = 0

    def stop_in_the_second_attack() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Interrupted(15)

    attacks = (CleanEvaluation(), PgdEvaluation(**BALL, steps=1))
    with pytest.raises(Interrupted):
        evaluate_cell(
            folder, EvaluationList(attacks=attacks), small_data, CPU, stop_in_the_second_attack
        )
    assert len(list((folder.path / "records").iterdir())) == 1


def test_autoattack_can_be_stopped(trained: CellFolder, small_data: DataSet) -> None:
    calls = 0

    def stop_at_a_forward() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Interrupted(15)

    evaluation = AutoAttackEvaluation(norm="linf", epsilon=Fraction(1, 10), samples=4)
    with pytest.raises(Interrupted):
        evaluate_cell(
            trained,
            EvaluationList(attacks=(evaluation,)),
            small_data,
            CPU,
            stop_at_a_forward,
        )


@pytest.mark.parametrize("step_size", [0, -0.05, 2])
def test_a_step_size_that_makes_no_attack_is_refused(step_size: float) -> None:
    with pytest.raises(ValueError, match="step_size = "):
        PgdEvaluation(norm="linf", epsilon=Fraction(1, 10), step_size=step_size, steps=10)


def test_an_untrained_cell_is_refused(tmp_path: Path, small_data: DataSet) -> None:
    write_spec(CellFolder(tmp_path), small_cell())
    with pytest.raises(UserError, match="is not trained"):
        evaluate(CellFolder(tmp_path), small_data, CleanEvaluation())


def test_a_damaged_record_is_named_and_made_again(tmp_path: Path, small_data: DataSet) -> None:
    folder = CellFolder(api.train(small_cell(), tmp_path, device="cpu", data=small_data))
    name = evaluate(folder, small_data, CleanEvaluation())["attacks"][0]["record"]
    before = Record.read(folder.record(name))
    folder.record(name).write_bytes(folder.record(name).read_bytes()[:-20])
    said: list[str] = []
    evaluations = EvaluationList(attacks=(CleanEvaluation(),))
    evaluate_cell(folder, evaluations, small_data, CPU, report=said.append)
    assert f"{name}.safetensors is truncated" in said[0]
    assert Record.read(folder.record(name)).prediction.tolist() == before.prediction.tolist()
