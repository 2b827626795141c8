"""Numbers that go wrong: a run stops and says where, or goes on rightly; no NaN is ever kept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import SMALL_CELL, short_method, small_cell
from raat_core.attacks.pgd import Live, Pgd
from raat_core.cells.evaluations import (
    AutoAttackEvaluation,
    CleanEvaluation,
    EvaluationList,
    PgdEvaluation,
)
from raat_core.cells.folder import CellFolder
from raat_core.cells.weights import read_weights
from raat_core.data.dataset import DataSet, Split
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation.accuracy import NO_CLASS, percent_correct, predict, predicted_classes
from raat_core.evaluation.batch import predict_batch
from raat_core.evaluation.run import evaluate_cell
from raat_core.interface.method import Method
from raat_core.interface.registry import BUILT_IN_METHODS
from raat_core.interface.step import Step
from raat_core.methods.pgd_at import PgdAt
from raat_core.methods.robust_alignment import RobustAlignment
from raat_core.training.loop import Training
from raat_core.training.optimisers import Sgd

BALL: dict[str, Any] = {"norm": "linf", "epsilon": 0.15}
PGD = PgdEvaluation(**BALL, step_size=0.05, steps=2)
CPU = torch.device("cpu")
RECIPE = {**SMALL_CELL["recipe"], "decay_epochs": []}


def training(folder: Path, data: DataSet, **changes: Any) -> Training:
    return Training(small_cell(**changes), CellFolder(folder), data, CPU)


def nothing_is_kept(folder: Path) -> None:
    """Neither results nor a state that is not finite."""
    cell = CellFolder(folder)
    assert not cell.manifest.exists()
    assert not list(folder.glob("*.safetensors"))
    assert not list(cell.resume.glob("*")) or "nan" not in cell.history.read_text().lower()


class _Spoiled:
    """`loss` of PGD-AT, spoiled in one step."""

    def __init__(self, at: int, spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        self.at, self.spoil, self.steps = at, spoil, 0
        self.loss = PgdAt.loss

    def __call__(self, method: Method, step: Step) -> dict[str, Tensor]:
        self.steps += 1
        terms = self.loss(method, step)  # type: ignore[arg-type]
        return self.spoil(terms) if self.steps == self.at else terms


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_place(
    value: float, tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = _Spoiled(8, lambda terms: {name: term + value for name, term in terms.items()})
    monkeypatch.setattr(PgdAt, "loss", lambda self, step: spoiled(self, step))
    run = training(tmp_path, small_data)
    with pytest.raises(UserError, match=r"the loss is not finite: .* at epoch 2, step 3 of cell"):
        run.run()
    nothing_is_kept(tmp_path)


@pytest.mark.parametrize("at", [5, 10], ids=["first epoch", "last step of all"])
def test_a_gradient_that_is_not_finite_after_a_finite_loss(
    at: int, tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The square root's slope at 0 is infinite: the loss tells nothing, the weights do."""

    def spoil(terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: term + (term - term.detach()).abs().sqrt() for name, term in terms.items()}

    spoiled = _Spoiled(at, spoil)
    monkeypatch.setattr(PgdAt, "loss", lambda self, step: spoiled(self, step))
    run = training(tmp_path, small_data)
    with pytest.raises(UserError, match=rf"weights are not finite: .* at epoch {at // 5}, after"):
        run.run()
    nothing_is_kept(tmp_path)


def test_an_interruption_keeps_no_weights_that_are_not_finite(
    tmp_path: Path, small_data: DataSet
) -> None:
    run = training(tmp_path, small_data)

    def spoil_and_stop() -> None:
        if run.progress.step == 2:
            with torch.no_grad():
                next(iter(run.trainee.model.parameters())).fill_(math.nan)
            raise Interrupted(15)

    run.check_stop = spoil_and_stop
    with pytest.raises(UserError, match=r"the weights are not finite: weight '.*after step 2"):
        run.run()
    assert not (tmp_path / "resume").exists()


def test_momentum_that_is_not_finite(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = Sgd.step, []

    def spoiled(self: Sgd, learning_rate: float, momentum: float | None = None) -> None:
        step(self, learning_rate, momentum)
        calls.append(learning_rate)
        if len(calls) == 5:  # The last of the first epoch.
            next(iter(self.momentum_buffers.values())).fill_(math.inf)

    monkeypatch.setattr(Sgd, "step", spoiled)
    with pytest.raises(
        UserError, match=r"not finite: the optimiser's 'momentum\..*' holds NaN or infinity at ep"
    ):
        training(tmp_path, small_data).run()
    nothing_is_kept(tmp_path)


def test_a_learning_rate_that_explodes(tmp_path: Path, small_data: DataSet) -> None:
    with pytest.raises(UserError, match=r"not finite.*epoch 1"):
        training(tmp_path, small_data, recipe={**RECIPE, "learning_rate": 1e30}).run()
    nothing_is_kept(tmp_path)


class _Sick(nn.Module):
    """Logits of class 0, or NaN for images whose first pixel is below a half."""

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), 10) + images.flatten(1).sum(1, keepdim=True) * 0
        logits[:, 0] += 1
        sick = images[:, 0, 0, 0] < 0.5
        return logits.masked_fill(sick[:, None], math.nan)


def _split(pixels: list[float]) -> Split:
    images = torch.tensor(pixels)[:, None, None, None].expand(-1, 1, 8, 8) * 255
    return Split(images.to(torch.uint8), torch.zeros(len(pixels), dtype=torch.int64), 255)


def test_logits_that_are_not_finite_are_no_class() -> None:
    logits = torch.tensor([[0.0, 1.0], [math.nan, 0.0], [math.inf, 0.0], [-math.inf, 0.0]])
    assert predicted_classes(logits).tolist() == [1, NO_CLASS, NO_CLASS, NO_CLASS]
    assert percent_correct(predicted_classes(logits), torch.tensor([1, 0, 0, 1])) == 25.0


def test_an_evaluation_in_training_refuses_them() -> None:
    with pytest.raises(UserError, match=r"not finite .* on 2 of 5 clean images"):
        predict(_Sick().eval(), _split([1, 0, 1, 1, 0]), 2)


def test_a_checkpoint_is_never_chosen_by_them(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path, small_data)
    forward = run.trainee.model.forward
    monkeypatch.setattr(
        run.trainee.model,
        "forward",
        lambda images: forward(images) * (1 if run.trainee.model.training else math.nan),
    )
    with pytest.raises(UserError, match="not finite"):
        run.run()
    nothing_is_kept(tmp_path)


@pytest.mark.parametrize("evaluation", [CleanEvaluation(), PGD, AutoAttackEvaluation(**BALL)])
@pytest.mark.filterwarnings("ignore")
def test_attacks_count_them_neither_right_nor_wrong(evaluation: Any) -> None:
    images, labels = _split([1, 0, 1, 0]).batch(torch.arange(4))
    found = predict_batch(_Sick().eval(), evaluation, 0, images, labels)
    assert found[[1, 3]].tolist() == [NO_CLASS, NO_CLASS]


def test_an_attack_that_returns_nan_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    class Package:
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self.apgd = self.apgd_targeted = self.fab = self.square = self

        def perturb(self, images: Tensor, labels: Tensor) -> Tensor:
            return images * math.nan

    monkeypatch.setattr("pyautoattack.AutoAttack", Package)
    images, labels = _split([1, 1]).batch(torch.arange(2))
    found = predict_batch(_Sick().eval(), AutoAttackEvaluation(**BALL), 0, images, labels)
    # NaN is not below a half: the model says NaN all the same, as its input is.
    assert found.tolist() == [NO_CLASS, NO_CLASS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    folder = tmp_path_factory.mktemp("trained")
    training(folder, small_data, recipe={**RECIPE, "epochs": 1}).run()
    return CellFolder(folder)


def test_no_record_and_no_part_is_made_of_them(
    trained: CellFolder, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb = Pgd.perturb

    def spoiled(self: Pgd, images: Tensor, generator: torch.Generator, live: Live) -> Tensor:
        perturbed = perturb(self, images, generator, live)
        perturbed[1] = math.nan
        return perturbed

    monkeypatch.setattr(Pgd, "perturb", spoiled)
    with pytest.raises(UserError, match=r"not finite .* on 1 of 60 test images under pgd-2"):
        evaluate_cell(trained, EvaluationList(attacks=(PGD,)), small_data, CPU)
    assert not list(trained.path.glob("records/**/*.safetensors"))


def _few(data: DataSet, labels: list[int], count: int = 12) -> DataSet:
    """The first training images of some classes."""
    chosen = torch.isin(data.train.labels, torch.tensor(labels)).nonzero()[:count, 0]
    return DataSet(data.train.take(chosen), data.test, data.classes)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("name", list(BUILT_IN_METHODS))
def test_unusual_data_trains_in_every_method(
    name: str, variant: str, tmp_path: Path, small_data: DataSet
) -> None:
    """Fewer samples than a batch, most classes empty, all of them wrong, then a batch of one."""
    method = short_method(name, variant=variant)
    data = _few(small_data, [3])
    images, labels = data.train.batch(torch.arange(len(data.train)))
    wrong = DataSet(Split(data.train.images, labels * 0 + 7, 16), data.test, 10)
    for number, (some, size) in enumerate([(data, 32), (wrong, 32), (data, 11), (data, 1)]):
        folder = tmp_path / str(number)
        training(folder, some, method=method, recipe={**RECIPE, "batch_size": size}).run()
        cell = CellFolder(folder)
        assert all(
            torch.from_numpy(array).isfinite().all()
            for array in read_weights(cell, "best").arrays.values()
            if array.dtype.kind == "f"
        )
        assert not {"nan", "inf"} & set(cell.history.read_text().replace(",", "\n").split())
    assert len(images) == 12


@pytest.mark.parametrize("size", [1, 11])
def test_batchnorm_of_a_single_value_is_explained(
    size: int, tmp_path: Path, small_data: DataSet
) -> None:
    """ResNet-18's last stage sees digits as one pixel."""
    run = training(
        tmp_path,
        _few(small_data, [3]),
        architecture="resnet-18",
        recipe={**RECIPE, "batch_size": size},
    )
    step = 1 if size == 1 else 2
    with pytest.raises(
        UserError, match=rf"recipe.batch_size = {size}: BatchNorm needs .* epoch 1, step {step},"
    ) as refused:
        run.run()
    assert ("drop_last: true" in str(refused.value)) == (size > 1)


def one_is_kept(self: RobustAlignment, step: Step, clean_correct: Tensor | None = None) -> Tensor:
    return torch.arange(len(step.labels)) == 2


@pytest.mark.parametrize("name", ["raat", "raat++", "raat#"])
def test_a_part_of_a_batch_without_variance_is_explained(
    name: str, tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The released code forwards the samples that DICAR keeps alone; no batch size helps."""
    monkeypatch.setattr(RobustAlignment, "kept", one_is_kept)
    data, recipe = _few(small_data, [3]), {**RECIPE, "batch_size": 6}

    def run(**settings: Any) -> Training:
        method = short_method(name, variant="released", **settings)
        folder = tmp_path / str(len(settings))
        return training(folder, data, architecture="resnet-18", recipe=recipe, method=method)

    with pytest.raises(
        UserError, match=rf"method '{re.escape(name)}': BatchNorm needs .* and resnet-18 has one"
    ) as refused:
        run().run()
    assert "epoch 1, step 1, where one image of a batch of 6 is forwarded alone" in str(
        refused.value
    )
    assert "choose method.dicar_mean = 'all', or an architecture" in str(refused.value)
    assert "batch_size" not in str(refused.value)
    run(dicar_mean="all").run()


def test_a_part_of_a_batch_in_any_method_is_explained(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(self: Method, step: Step) -> dict[str, Tensor]:
        return {"first": step.forward(step.views[0][:1]).sum()}

    monkeypatch.setattr(PgdAt, "loss", loss)
    with pytest.raises(
        UserError, match=r"method 'pgd-at': .* a batch of 12 .* choose an architecture that has"
    ):
        training(tmp_path, _few(small_data, [3]), architecture="resnet-18", recipe=RECIPE).run()


def test_a_lone_image_in_an_averages_statistics_is_explained(
    tmp_path: Path, small_data: DataSet
) -> None:
    """What drop_last leaves out of the steps is in the estimate."""
    recipe = {
        **RECIPE, "batch_size": 11, "drop_last": True, "averaging": {"kind": "swa", "from_epoch": 0}
    }  # fmt: skip
    data = _few(small_data, [3])
    with pytest.raises(
        UserError,
        match=r"batch_size = 11: BatchNorm .* the end of epoch 1, .*; choose another batch_s",
    ):
        training(tmp_path, data, architecture="resnet-18", recipe=recipe).run()


def test_other_mistakes_of_a_method_are_not_explained_away(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(self: Method, step: Step) -> dict[str, Tensor]:
        raise ValueError("a mistake of its own")

    monkeypatch.setattr(PgdAt, "loss", loss)
    with pytest.raises(ValueError, match="a mistake of its own"):
        training(tmp_path, small_data).run()
