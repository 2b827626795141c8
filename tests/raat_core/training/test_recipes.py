"""What a recipe adds to a training: averages, perturbed weights, smoothing, stopping; resumed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn

from conftest import SMALL_CELL, TOY_METHOD, short_method, small_cell
from outcomes import assert_equal_outcome, history_of, run_with_stops, train, weights_of
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.fast.switches import FastPaths
from raat_core.interface import CellFacts, Iterate, Method, MethodSettings, Step, WeightAverage
from raat_core.interface.registry import BUILT_IN_METHODS, METHODS, method_class
from raat_core.models.build import build_model_for
from raat_core.specs.perturbation import Awp
from raat_core.training.averages import SwaAverage
from raat_core.training.loop import Training
from raat_core.training.perturbation import WeightPerturbation
from raat_core.training.step import TrainingStep
from raat_core.training.trainee import Trainee

RECIPE: dict[str, Any] = {**SMALL_CELL["recipe"], "epochs": 3}


def cell_with(method: Any = "pgd-at", **recipe: Any) -> Cell:
    return small_cell(method=method, recipe={**RECIPE, **recipe})


RECIPES: list[dict[str, Any]] = [
    {"optimiser": "adamw", "learning_rate": 0.002, "weight_decay": 0.05},
    {"optimiser": {"kind": "sgd", "nesterov": True}, "gradient_clipping": 0.5},
    {"schedule": {"kind": "one-cycle", "momentum": [0.85, 0.95]}, "decay_epochs": [100, 105]},
    {"schedule": {"kind": "cosine", "per": "step", "warmup_epochs": 1}, "decay_epochs": [100, 105]},
    {"label_smoothing": 0.1, "drop_last": True},
    {"averaging": {"kind": "ema", "decay": 0.8, "from_epoch": 1, "evaluate_other": True}},
    {"averaging": {"kind": "swa", "from_epoch": 1}},
    {"perturbation": {"kind": "awp", "gamma": 0.02, "from_epoch": 1}},
    {"averaging": {"kind": "ema", "decay": 0.8}, "perturbation": "awp", "patience": 1},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("every", [9, 13])  # More than an epoch's evaluation has chances.
def test_an_interrupted_training_ends_as_one_that_ran_through(
    recipe: dict[str, Any], every: int, tmp_path: Path, small_data: DataSet
) -> None:
    cell = cell_with(**recipe)
    through = train(cell, tmp_path / "through", small_data)
    stopped, sessions = run_with_stops(cell, tmp_path / "stopped", small_data, every=every)
    assert sessions > 1
    assert_equal_outcome(through, stopped)


def test_the_recipes_ema_on_pgd_at_is_wa(tmp_path: Path, small_data: DataSet) -> None:
    """Bit for bit, weights and history."""
    wa = cell_with({"name": "wa", "average_from": 1, "decay": 0.9})
    ema = cell_with(averaging={"kind": "ema", "from_epoch": 1, "decay": 0.9})
    assert_equal_outcome(
        train(wa, tmp_path / "wa", small_data), train(ema, tmp_path / "ema", small_data)
    )


def test_a_choice_of_what_is_reported(tmp_path: Path, small_data: DataSet) -> None:
    """The trained model reported is that of no averaging; the average is beside it."""
    both = {"kind": "ema", "decay": 0.9, "report": "trained", "evaluate_other": True}
    plain = train(cell_with(), tmp_path / "plain", small_data)
    beside = train(cell_with(averaging=both), tmp_path / "beside", small_data)
    for name, array in weights_of(plain).items():
        assert np.array_equal(array, weights_of(beside)[name])
    (row, *_), (other, *_) = history_of(plain), history_of(beside)
    assert row.items() <= other.items()
    assert {"averaged_clean_accuracy", "averaged_robust_accuracy"} == other.keys() - row.keys()


def test_swa_is_torchs(tmp_path: Path, small_data: DataSet) -> None:
    """The mean of the weights after each epoch, and BatchNorm's statistics as by `update_bn`."""
    ours = build_model_for("resnet-mini", "digits", 0).train()
    average = SwaAverage(_swa(cell_with(averaging="swa")), ours)
    reference = AveragedModel(ours)
    images, _ = small_data.train.batch(torch.arange(136))
    batches = torch.split(images, 32)
    for epoch in range(3):
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=_seeded(epoch)))
        average.after_epoch(epoch)
        reference.update_parameters(ours)
        if epoch > 0:  # As where not every epoch is evaluated.
            average.estimate(iter(batches))
    update_bn(batches, reference)
    found = average.average.of(ours)
    assert not found.training
    for (name, mine), its in zip(
        found.state_dict().items(), reference.module.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6, msg=name)


def _swa(cell: Cell) -> Any:
    return cell.recipe.averaging


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_first_swa_model_is_the_trained_one(tmp_path: Path, small_data: DataSet) -> None:
    """But for BatchNorm's statistics, which are those of the training images."""
    recipe = {"averaging": {"kind": "swa", "from_epoch": 2, "evaluate_other": True}}
    averaged = weights_of(train(cell_with(**recipe), tmp_path / "swa", small_data))
    plain = weights_of(train(cell_with(), tmp_path / "plain", small_data))
    for name in plain:
        if name.startswith("last."):
            same = np.array_equal(averaged[name], plain[name])
            assert same == ("running" not in name and "batches" not in name), name


@pytest.mark.parametrize("name", BUILT_IN_METHODS)
def test_awp_of_gamma_zero_changes_no_bit(name: str, tmp_path: Path, small_data: DataSet) -> None:
    plain = cell_with(short_method(name))
    zero = cell_with(short_method(name), perturbation={"kind": "awp", "gamma": 0.0})
    assert_equal_outcome(
        train(plain, tmp_path / "plain", small_data), train(zero, tmp_path / "zero", small_data)
    )


class CountingSettings(MethodSettings):
    name: Literal["counting"] = "counting"


class Counting(Method):
    """Samples weigh by how many iterates are right; reports an average of its own, if asked."""

    Settings = CountingSettings

    def __init__(self, settings: MethodSettings, cell: CellFacts) -> None:
        super().__init__(settings, cell)
        self.average = WeightAverage()

    def start(self, model: nn.Module) -> None:
        if self.cell.recipe.averaging is not None:
            self.average.begin(model)

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,), labels = step.views, step.labels
        weights = images.new_full((len(images),), 0.1)

        def count(iterate: Iterate) -> None:
            weights.add_(iterate.logits.argmax(1) == labels)

        adversarial = step.attack(images, labels, on_iterate=count)
        losses = step.cross_entropy(step.forward(adversarial), labels)
        return {"supervised": (weights * losses).mean()}

    def evaluated(self, model: nn.Module) -> dict[str, nn.Module]:
        return {"averaged": self.average.of(model)}


@pytest.fixture
def _counting() -> Iterator[None]:
    METHODS.add("counting", Counting, __name__)
    yield
    METHODS.replace("counting", None)


@pytest.mark.usefixtures("_counting")
def test_iterates_are_shown_again_under_awp(tmp_path: Path, small_data: DataSet) -> None:
    """The loss is computed twice, its attack runs once."""
    plain = cell_with("counting")
    zero = cell_with("counting", perturbation={"kind": "awp", "gamma": 0.0})
    assert_equal_outcome(
        train(plain, tmp_path / "plain", small_data), train(zero, tmp_path / "zero", small_data)
    )


@pytest.mark.usefixtures("_counting")
def test_two_averages_are_refused_once_both_are_there(tmp_path: Path, small_data: DataSet) -> None:
    """Before the first step, although the method's begins in `start` alone."""
    cell = cell_with("counting", averaging={"kind": "ema", "decay": 0.9})
    with pytest.raises(UserError, match="averaging: method 'counting' reports a model of its own"):
        train(cell, tmp_path / "cell", small_data)
    assert not (tmp_path / "cell" / "history.csv").exists()


def test_awp_perturbs_every_convolution_by_gamma_of_its_norm(small_data: DataSet) -> None:
    model = build_model_for("resnet-mini", "digits", 0)
    images, labels = small_data.train.batch(torch.arange(16))
    torch.autograd.backward(functional.cross_entropy(model(images), labels))
    before = copy.deepcopy(model.state_dict())
    perturbation = WeightPerturbation(Awp(gamma=0.01), model)
    layers = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert set(perturbation.weights) == {f"{name}.weight" for name in layers}
    perturbation.add()
    for name, tensor in model.state_dict().items():
        moved = (tensor.double() - before[name].double()).norm()
        expected = 0.01 * before[name].double().norm() if name in perturbation.weights else 0.0
        assert float(moved) == pytest.approx(float(expected), rel=1e-4)
    perturbation.subtract()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-6, atol=1e-7)


def in_double(step: TrainingStep) -> TrainingStep:
    return replace(step, views=tuple(view.double() for view in step.views))


def test_a_step_with_awp_is_that_of_a_plain_loop(small_data: DataSet) -> None:
    """Two steps of PGD-AT in double precision, against the released code's order of things."""
    gamma, cell = 0.05, cell_with(perturbation={"kind": "awp", "gamma": 0.05})
    trainee = Trainee.build(cell, torch.device("cpu"), FastPaths(fold=False))
    plain = Trainee.build(cell_with(), torch.device("cpu"), FastPaths(fold=False))
    model, momentum = plain.model, dict[str, Tensor]()
    trainee.model.double(), model.double()
    for number in range(2):
        indices = torch.arange(32 * number, 32 * number + 32)
        step = in_double(trainee.draw(small_data.train, indices, 0, number))
        plain_step = in_double(plain.draw(small_data.train, indices, 0, number))
        adversarial = plain_step.attack(step.views[0], step.labels)
        trainee.update(step)
        # The proxy has norms of its own: the model's see the second forward alone.
        proxy = copy.deepcopy(model)
        torch.autograd.backward(functional.cross_entropy(proxy(adversarial), step.labels))
        offsets = {
            name: gamma * weight.norm() * weight.grad / (weight.grad.norm() + 1e-20)
            for name, weight in proxy.named_parameters()
            if weight.dim() > 1 and weight.grad is not None
        }
        with torch.no_grad():
            for name, offset in offsets.items():
                model.get_parameter(name).add_(offset.detach())
        model.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(adversarial), step.labels))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                assert weight.grad is not None
                gradient = weight.grad + 5e-4 * weight
                momentum[name] = 0.9 * momentum[name] + gradient if number else gradient
                weight.sub_(0.1 * momentum[name])
                if name in offsets:
                    weight.sub_(offsets[name].detach())
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(
                trainee.model.state_dict()[name], tensor, rtol=1e-6, atol=1e-8, msg=name
            )


def test_awp_moves_statistics_once(small_data: DataSet) -> None:
    """The first forwards of a step leave them alone."""
    counts = []
    for recipe in ({}, {"perturbation": "awp"}):
        trainee = Trainee.build(cell_with("trades", **recipe), torch.device("cpu"), FastPaths())
        trainee.update(trainee.draw(small_data.train, torch.arange(32), 0, 0))
        counts.append(int(trainee.model.state_dict()["bn1.num_batches_tracked"]))
    assert counts == [2, 2]


def test_a_method_that_remembers_in_its_loss_is_refused_under_awp(
    tmp_path: Path, small_data: DataSet
) -> None:
    api.load_plugin(str(TOY_METHOD))
    with pytest.raises(UserError, match=r"'toy' changes its state 'mean' in its loss.*after_step"):
        train(cell_with("toy", perturbation="awp"), tmp_path, small_data)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_is_torchs(smoothing: float, small_data: DataSet) -> None:
    cell = cell_with(label_smoothing=smoothing)
    trainee = Trainee.build(cell, torch.device("cpu"), FastPaths())
    step = trainee.draw(small_data.train, torch.arange(32), 0, 0)
    logits = step.forward(step.views[0])
    expected = functional.cross_entropy(
        logits, step.labels, reduction="none", label_smoothing=smoothing
    )
    torch.testing.assert_close(step.cross_entropy(logits, step.labels), expected)
    one_hot = functional.one_hot(step.labels, 10).float()
    torch.testing.assert_close(step.cross_entropy(logits, one_hot), expected)


@pytest.mark.parametrize("name", BUILT_IN_METHODS)
def test_methods_that_say_so_smooth_labels(name: str, small_data: DataSet) -> None:
    if not method_class(name).smooths_labels:
        with pytest.raises(UserError, match="label_smoothing"):
            cell_with(short_method(name), label_smoothing=0.1)
        return
    terms = []
    for smoothing in (0.0, 0.3):
        cell = cell_with(short_method(name), label_smoothing=smoothing)
        trainee = Trainee.build(cell, torch.device("cpu"), FastPaths())
        step = trainee.draw(small_data.train, torch.arange(32), 0, 0)
        terms.append(trainee.update(step)["supervised"].item())
    assert terms[0] != terms[1]


def test_a_method_that_says_so_and_does_not(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method_class("mart"), "smooths_labels", True)
    with pytest.raises(UserError, match=r"'mart' does not use step\.cross_entropy"):
        train(cell_with("mart", label_smoothing=0.1), tmp_path, small_data)


def test_the_history_has_the_rate_that_was_used(tmp_path: Path, small_data: DataSet) -> None:
    """Of the last step of each epoch."""
    schedule = {"kind": "triangular", "peak": 0.2}
    cell = cell_with(schedule=schedule, decay_epochs=[100, 105])
    used: list[float] = []
    training = Training(cell, CellFolder(tmp_path), small_data, torch.device("cpu"))
    step = training.trainee.optimizer.step
    training.trainee.optimizer.step = lambda rate, momentum=None: (used.append(rate), step(rate))  # type: ignore[method-assign, assignment, func-returns-value]
    training.run()
    assert len(used) == 3 * 5
    rows = history_of(CellFolder(tmp_path))
    assert [float(row["learning_rate"]) for row in rows] == used[4::5]
    assert len(set(used)) > 10


def test_the_last_batch_is_dropped(tmp_path: Path, small_data: DataSet) -> None:
    for drop, steps in ((False, 5), (True, 4)):
        cell = cell_with(drop_last=drop)
        training = Training(cell, CellFolder(tmp_path / str(drop)), small_data, torch.device("cpu"))
        assert training.steps_per_epoch == steps
        sizes: list[int] = []
        loss = training.trainee.method.loss

        def counted(
            step: Step, sizes: list[int] = sizes, loss: Callable[[Step], Any] = loss
        ) -> dict[str, Tensor]:
            sizes.append(len(step.labels))
            return loss(step)  # type: ignore[no-any-return]

        training.trainee.method.loss = counted  # type: ignore[method-assign]
        training.run()
        assert sizes == ([32] * 4 + ([] if drop else [8])) * 3


def test_a_training_without_progress_stops(tmp_path: Path, small_data: DataSet) -> None:
    """A learning rate of next to nothing never makes a better checkpoint."""
    recipe = {"epochs": 20, "learning_rate": 1e-12, "patience": 3, "decay_epochs": [1]}
    folder = train(cell_with(**recipe), tmp_path, small_data)
    rows, manifest = history_of(folder), read_manifest(folder)
    best = manifest["best"]["epoch"]
    assert len(rows) == manifest["epochs"] == best + 3 < 20
    assert api.load(folder.path, "last") is not None
