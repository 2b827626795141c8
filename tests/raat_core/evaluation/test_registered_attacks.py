"""Attacks of one's own: run, held against the rules, interrupted, shared out and resumed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import ATTACK_PLUGIN, SMALL_CELL, say_trained_on_digits, small_cell
from raat_core import api
from raat_core.cells.evaluations import (
    CleanEvaluation,
    Evaluation,
    EvaluationList,
    evaluation_name,
)
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.cost.flop import Accuracies, depends_on_accuracies, evaluation_passes
from raat_core.data.dataset import DataSet
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation.batch import predict_batch
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Shard
from raat_core.evaluation.records import Record
from raat_core.evaluation.run import evaluate_cell
from raat_core.interface import Attack, AttackBatch, AttackSettings, register
from raat_core.interface.operations import Passes
from raat_core.interface.plugins import load_plugin
from raat_core.interface.registry import attack_class, resolve_attack
from raat_core.randomness import NamedDraws, generator, numpy_generator
from raat_core.validation import parse

CPU = torch.device("cpu")
load_plugin(str(ATTACK_PLUGIN))
BALL: dict[str, Any] = {"norm": "linf", "epsilon": Fraction(3, 20)}
SQUARE = resolve_attack({"kind": "my-square", **BALL, "queries": 20, "batch_size": 13})
FGSM = resolve_attack(
    {"kind": "fgsm", "epsilon": "3/20", "random_start": True, "samples": 50, "batch_size": 13}
)


class FreeSettings(AttackSettings):
    """An attack that a test gives its outcome."""

    kind: Literal["free"] = "free"
    norm: str = "linf"
    epsilon: float = 0.1


@register
class Free(Attack):
    """Whatever `outcome` makes of images and labels."""

    Settings = FreeSettings
    outcome: Callable[[Tensor, Tensor], Any]

    def run(self, model: nn.Module, batch: AttackBatch) -> Any:
        return type(self).outcome(batch.images, batch.labels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    recipe = {**SMALL_CELL["recipe"], "epochs": 6, "decay_epochs": [5]}
    folder = tmp_path_factory.mktemp("trained")
    return CellFolder(api.train(small_cell(recipe=recipe), folder, device="cpu", data=small_data))


@pytest.fixture
def cell(trained: CellFolder, tmp_path: Path) -> CellFolder:
    shutil.copytree(trained.path, tmp_path / "cell")
    return CellFolder(tmp_path / "cell")


@pytest.fixture
def other(trained: CellFolder, tmp_path: Path) -> CellFolder:
    shutil.copytree(trained.path, tmp_path / "other")
    return CellFolder(tmp_path / "other")


def run(folder: CellFolder, data: DataSet, *attacks: Evaluation, **more: Any) -> list[float]:
    summary = evaluate_cell(folder, EvaluationList(attacks=attacks), data, CPU, **more)
    return [attack["accuracy"] for attack in summary["attacks"]]


def record(folder: CellFolder, attack: Evaluation) -> Record:
    return Record.read(folder.record(evaluation_name(attack, "best")))


def test_they_find_what_is_not_robust(cell: CellFolder, small_data: DataSet) -> None:
    clean, square, fgsm = run(cell, small_data, CleanEvaluation(), SQUARE, FGSM)
    assert 0 < square < clean < 100
    assert 0 < fgsm < clean
    made = record(cell, SQUARE).metadata
    assert made["attack"]["queries"] == 20
    assert "pyautoattack" in made["versions"]
    assert "pyautoattack" not in record(cell, FGSM).metadata["versions"]


@pytest.mark.parametrize("attack", [SQUARE, FGSM], ids=["square", "fgsm"])
def test_interrupted_and_shared_out_they_say_the_same(
    attack: Evaluation, cell: CellFolder, other: CellFolder, small_data: DataSet
) -> None:
    run(cell, small_data, attack)
    expected = record(cell, attack)
    cell.record(evaluation_name(attack, "best")).unlink()
    stops: Iterator[int] = iter((3, 2, 30, 5))
    sittings = 0
    while not cell.record(evaluation_name(attack, "best")).exists():
        sittings += 1
        left = next(stops, 10_000)

        def check() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Interrupted(15)

        with contextlib.suppress(Interrupted):
            run(cell, small_data, attack, check_stop=check)
    for number in (2, 3, 1):
        shard = Shard(number, 3)
        evaluate_cell(other, EvaluationList(attacks=(attack,)), small_data, CPU, shard=shard)
    join_cell(other, EvaluationList(attacks=(attack,)))
    assert sittings > 1
    for folder in (cell, other):
        found = record(folder, attack)
        for array in ("index", "label", "prediction"):
            assert np.array_equal(getattr(found, array), getattr(expected, array))


@pytest.mark.parametrize(
    ("outcome", "parts"),
    [
        (lambda images, labels: None, ["must return adversarial images", "not NoneType"]),
        (lambda images, labels: images[:3], ["(20, 1, 8, 8)", "not torch.float32 of shape (3, 1"]),
        (lambda images, labels: images.double(), ["not torch.float64"]),
        (lambda images, labels: labels.int(), ["classes (torch.int64, (20,))", "torch.int32"]),
        (lambda images, labels: images.log(), ["not finite"]),
        (lambda images, labels: images + 0.05, ["pixels from 0.05 to 1.05", "in [0, 1]"]),
        (
            lambda images, labels: (images + 0.2).clamp(0, 1),
            ["20 of 20 images outside of its ball: linf distance up to 0.2", "epsilon = 0.1"],
        ),
        # In place, so that they are no further from what became of the images.
        (lambda images, labels: images.mul_(0.5), ["images outside of its ball"]),
        (lambda images, labels: labels + 10, ["returned the class 1", "there are 10, from 0"]),
    ],
    ids=["none", "some", "double", "int32", "nan", "bright", "far", "in-place", "class"],
)
def test_what_is_no_outcome_is_refused(
    outcome: Any, parts: list[str], trained: CellFolder, small_data: DataSet
) -> None:
    Free.outcome = staticmethod(outcome)
    model = api.load(trained.path, device="cpu")
    images, labels = small_data.test.batch(torch.arange(20))
    with pytest.raises(UserError) as caught:
        predict_batch(model, FreeSettings(), 0, images, labels)
    assert str(caught.value).startswith("attack 'free' ")
    for part in parts:
        assert part in str(caught.value)


def test_l2_distances_are_held_against_the_ball_too(
    trained: CellFolder, small_data: DataSet
) -> None:
    model = api.load(trained.path, device="cpu")
    images, labels = small_data.test.batch(torch.arange(20))
    Free.outcome = staticmethod(lambda images, labels: (images + 0.1).clamp(0, 1))
    predict_batch(model, FreeSettings(), 0, images, labels)
    with pytest.raises(UserError, match="l2 distance up to 0"):
        predict_batch(model, FreeSettings(norm="l2"), 0, images, labels)


def test_what_is_wrong_without_attack_stays_wrong(trained: CellFolder, small_data: DataSet) -> None:
    model = api.load(trained.path, device="cpu")
    images, labels = small_data.test.batch(torch.arange(60))
    clean = predict_batch(model, CleanEvaluation(), 0, images, labels)
    assert 0 < (clean == labels).sum() < 60
    Free.outcome = staticmethod(lambda images, labels: labels)
    assert predict_batch(model, FreeSettings(), 0, images, labels).equal(clean)


def test_a_model_that_is_left_in_training_mode_is_named(
    trained: CellFolder, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = api.load(trained.path, device="cpu")

    def run(self: Attack, model: nn.Module, batch: AttackBatch) -> Tensor:
        model.train()
        return batch.images

    monkeypatch.setattr(Free, "run", run)
    with pytest.raises(ValueError, match="it is in training mode"):
        predict_batch(model, FreeSettings(), 0, *small_data.test.batch(torch.arange(5)))


def test_draws_of_torchs_global_generator_are_functions_of_seed_and_batch(
    trained: CellFolder, small_data: DataSet
) -> None:
    model = api.load(trained.path, device="cpu")
    drawn = []

    def outcome(images: Tensor, labels: Tensor) -> Tensor:
        drawn.append(torch.rand(3).tolist())
        return images

    Free.outcome = staticmethod(outcome)
    before = torch.random.get_rng_state()
    batch = small_data.test.batch(torch.arange(5))
    for seed, number in ((0, 0), (0, 0), (0, 1), (1, 0)):
        predict_batch(model, FreeSettings(seed=seed), number, *batch)
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2] != drawn[3] != drawn[0]
    assert torch.random.get_rng_state().equal(before)


def test_the_default_cost_is_a_hundred_steps() -> None:
    accuracies = Accuracies(0.8, 0.5)
    assert evaluation_passes(SQUARE, 10, accuracies) == Passes(forwards=2, gradients=100)
    assert not depends_on_accuracies(SQUARE)
    aa = resolve_attack({"kind": "autoattack", "norm": "linf", "epsilon": "8/255"})
    assert depends_on_accuracies(aa)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (
            {"kind": "my-sqare"},
            ["attacks.0: kind = 'my-sqare'", "did you mean 'my-square'?", "plugin"],
        ),
        ({}, ["attacks.0: kind: is missing; allowed: clean, pgd, autoattack"]),
        ([], ["attacks.0: must be a mapping"]),
        ({"kind": "my-square", **BALL, "queries": 0}, ["attacks.0.queries = 0", "greater than"]),
        (
            {"kind": "my-square", **BALL, "query": 9},
            ["unknown key 'query'", "did you mean 'queries'"],
        ),
        ({"kind": "my-square", "queries": 9}, ["attacks.0.norm: is missing"]),
    ],
)
def test_bad_settings_get_clear_lines(data: Any, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(EvaluationList, {"attacks": [data]}, "attacks.json")
    for part in parts:
        assert part in str(caught.value)


def test_lists_survive_json_and_versions_are_part_of_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attacks = EvaluationList(attacks=(SQUARE, FGSM))
    again = parse(EvaluationList, json.loads(json.dumps(attacks.to_json())), "test")
    assert again == attacks
    before = [evaluation_name(attack, "best") for attack in attacks.attacks]
    assert [name.rsplit("_", 1)[0] for name in before] == ["best_my-square", "best_fgsm"]
    name = attacks.name
    monkeypatch.setattr(attack_class("my-square"), "version", 2)
    after = [evaluation_name(attack, "best") for attack in attacks.attacks]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]
    assert EvaluationList(attacks=(SQUARE, FGSM)).name != name


def test_a_data_set_that_an_attack_refuses(
    cell: CellFolder, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(self: Any, classes: int, image_shape: tuple[int, int, int]) -> None:
        raise ValueError(f"needs colours, not images of {image_shape} and {classes} classes")

    monkeypatch.setattr(type(FGSM), "check", check)
    with pytest.raises(UserError, match=r"attack 'fgsm': needs colours, not images of \(1, 8, 8\)"):
        run(cell, small_data, FGSM)


def test_from_the_command_line(cell: CellFolder, capsys: pytest.CaptureFixture[str]) -> None:
    say_trained_on_digits(cell)
    attack = {"kind": "fgsm", "epsilon": "8/255", "samples": 20}
    arguments = ["attack", str(cell.path), "--attacks", json.dumps([attack])]
    assert main([*arguments, "--plugin", str(ATTACK_PLUGIN)]) == 0
    assert "fgsm ε = 8/255: " in capsys.readouterr().out


def test_named_draws_go_on_and_begin_anew() -> None:
    draws = NamedDraws("cpu", 3, "a", 1)
    first = draws.uniform(4, low=-1, high=1)
    assert not draws.uniform(4, low=-1, high=1).equal(first)
    assert NamedDraws("cpu", 3, "a", 1).uniform(4, low=-1, high=1).equal(first)
    expected = torch.empty(4).uniform_(-1, 1, generator=generator("cpu", 3, "a", 1))
    assert first.equal(expected)
    assert NamedDraws("cpu", 3, "b", 1).gaussian(4).dtype == torch.float32
    assert draws.integers(2, 3, below=5).shape == (2, 3)
    assert sorted(draws.permutation(6).tolist()) == list(range(6))


def test_named_beta_is_numpys_and_goes_on() -> None:
    draws, plain = NamedDraws("cpu", 3, "beta", 0, 1), numpy_generator(3, "beta", 0, 1)
    for _ in range(2):
        expected = torch.from_numpy(plain.beta(0.5, 0.5, 7)).float()
        assert draws.beta(0.5, 7).equal(expected)
