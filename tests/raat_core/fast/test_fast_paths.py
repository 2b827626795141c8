"""Fast paths against the plain one: what a step computes, and what an attack finds."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import short_method, small_cell
from flops import Watch
from raat_core import api
from raat_core.attacks.pgd import Pgd
from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.weights import read_weights
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet, Split
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.cpu import winograd
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import VARIABLE, FastPaths, fast_paths_from_environment
from raat_core.interface.registry import BUILT_IN_METHODS, method_class
from raat_core.models.build import build_model
from raat_core.training.step import TrainingStep
from raat_core.training.trainee import Trainee

PLAIN = FastPaths(fold=False, winograd=False, channels_last=False, repeats=False)
METHODS = [
    short_method(name, variant=variant)
    for name in BUILT_IN_METHODS
    for variant in ("paper", "released")
    if variant == "paper" or method_class(name).Settings.preset("released")
]


@pytest.fixture(autouse=True)
def winograd_for_small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for more channels than they have.

    In the first layers of a fresh network the digits' black background makes exact zeros, at which
    a ReLU has slope 0; a rounding error above has slope 1.
    """
    monkeypatch.setattr(winograd, "CHANNELS", 32)


def named(method: dict[str, Any]) -> str:
    return f"{method['name']}-{method['variant']}"


class DoubleSplit(Split):
    """Images in double precision."""

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = super().batch(indices)
        return images.double(), labels


class Trained:
    """A model of a cell and what trains it, some steps on."""

    def __init__(self, cell: Cell, data: DataSet, fast: FastPaths, epoch: int = 1) -> None:
        self.cell, self.split, self.epoch = cell, data.train, epoch
        self.trainee = Trainee.build(cell, torch.device("cpu"), fast)

    @property
    def model(self) -> nn.Module:
        return self.trainee.model

    def in_double_precision(self) -> None:
        self.model.double()
        self.split = DoubleSplit(self.split.images, self.split.labels, self.split.levels)

    def step(self, number: int) -> TrainingStep:
        draws = torch.Generator().manual_seed(number)
        indices = torch.randperm(len(self.split), generator=draws)[:32]
        return self.trainee.draw(self.split, indices, self.epoch, number)

    def update(self, number: int) -> dict[str, float]:
        terms = self.trainee.update(self.step(number))
        return {name: term.item() for name, term in terms.items()}

    def predictions(self, data: DataSet) -> Tensor:
        images, _ = data.test.batch(torch.arange(len(data.test)))
        images = images.to(next(self.model.parameters()).dtype)
        self.model.eval()
        with torch.no_grad():
            found: Tensor = self.model(images).argmax(1)
        self.model.train()
        return found


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_ten_steps_are_the_plain_ones_but_for_rounding(
    method: dict[str, Any], small_data: DataSet
) -> None:
    """In double precision, where ten steps do not yet make chaos of rounding."""
    cell = small_cell(method=method)
    fast, plain = (Trained(cell, small_data, paths) for paths in (FastPaths(), PLAIN))
    for trained in (fast, plain):
        trained.in_double_precision()
    for number in range(10):
        assert fast.update(number) == pytest.approx(plain.update(number), rel=1e-6, abs=1e-9)
    assert torch.equal(fast.predictions(small_data), plain.predictions(small_data))
    state = plain.model.state_dict()
    for name, tensor in fast.model.state_dict().items():
        assert torch.allclose(tensor, state[name], rtol=1e-5, atol=1e-8), name


@pytest.mark.parametrize("steps_before", [0, 20])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("objective", ["cross-entropy", "kl", "margin"])
def test_ten_attack_steps_find_the_same(
    steps_before: int, norm: Any, objective: Any, small_data: DataSet
) -> None:
    trained = Trained(small_cell(), small_data, PLAIN)
    for number in range(steps_before):
        trained.update(number)
    images, labels = small_data.test.batch(torch.arange(60))
    epsilon = 0.15 if norm == "linf" else 1.0
    pgd = Pgd(norm, epsilon, epsilon / 4, 10, objective)
    found = []
    for fast in (PLAIN, FastPaths()):
        begun = pgd.perturb(images, torch.Generator().manual_seed(0))
        found.append(FrozenModels(fast).attack(pgd, trained.model, images, labels, begun, "fp32"))
    expected, fast_images = found
    moved = ((fast_images - expected).abs() > 1 / 255).double().mean()
    assert moved <= 0.005
    trained.model.eval()
    assert torch.equal(trained.model(fast_images).argmax(1), trained.model(expected).argmax(1))


def test_input_gradients_alone_are_those_of_a_whole_backward(small_data: DataSet) -> None:
    """Bit for bit, and the weights' gradients stay as they were."""
    trained = Trained(small_cell(), small_data, PLAIN)
    trained.update(0)
    trained.model.eval().zero_grad()
    images, labels = small_data.test.batch(torch.arange(60))
    perturbed = images.clone().requires_grad_()
    loss = functional.cross_entropy(trained.model(perturbed), labels, reduction="sum")
    torch.autograd.backward(loss)
    assert perturbed.grad is not None
    expected = images + 0.05 * perturbed.grad.sign()
    trained.model.zero_grad()
    pgd = Pgd("linf", 0.05, 0.05, 1)
    found = pgd.ascend(trained.model, images, labels, images)
    assert torch.equal(found, expected.clamp(images - 0.05, images + 0.05).clamp(0, 1))
    assert all(parameter.grad is None for parameter in trained.model.parameters())


@pytest.mark.parametrize("architecture", ["resnet-18", "resnet-18-bottleneck", "preact-resnet-18"])
def test_activations_in_place_change_no_bit(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    relu, add_ = functional.relu, Tensor.add_

    def gradients() -> list[Tensor]:
        model = build_model(architecture, 3, 5, 0).train()
        leaf = images.clone().requires_grad_()
        torch.autograd.backward(functional.cross_entropy(model(leaf), torch.arange(4)))
        found = [leaf.grad, *(parameter.grad for parameter in model.parameters())]
        return [gradient for gradient in found if gradient is not None]

    def add(mine: Tensor, other: Any) -> Tensor:
        return add_(mine.clone() if mine.is_floating_point() else mine, other)

    in_place = gradients()
    monkeypatch.setattr(functional, "relu", lambda given, inplace=False: relu(given))
    monkeypatch.setattr(Tensor, "add_", add)
    assert all(map(torch.equal, in_place, gradients()))


def test_gradients_are_there_for_the_hook_and_freed_behind_it(
    small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Trained(small_cell(), small_data, FastPaths())
    found: list[bool] = []

    def after_step(step: Any) -> None:
        found.extend(parameter.grad is not None for parameter in step.model.parameters())

    monkeypatch.setattr(trained.trainee.method, "after_step", after_step)
    trained.update(0)
    assert found
    assert all(found)
    assert all(parameter.grad is None for parameter in trained.model.parameters())


class WatchForWaiting(Watch):  # type: ignore[no-untyped-call]
    """Notes operations after which a GPU's host has to wait for a result."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def see(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        name = func.overloadpacket._qualified_op_name
        by_mask = name in ("aten::index", "aten::index_put_") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        waits = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal")
        if name in waits or by_mask:
            self.found.append(name)


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_no_step_waits_for_the_device(method: dict[str, Any], small_data: DataSet) -> None:
    """But where the released code forwards some samples of a batch: how many has to be known."""
    trained = Trained(small_cell(method=method), small_data, FastPaths())
    trained.update(0)  # Folded copies are made, and compared with their models.
    step = trained.step(1)
    watch = WatchForWaiting()
    with watch:
        trained.trainee.update(step)
    takes_a_subset = trained.cell.method.model_dump().get("dicar_mean") == "kept"
    assert ("aten::index" in watch.found) == takes_a_subset
    assert set(watch.found) <= {"aten::index"}


def test_the_watch_sees_what_waits() -> None:
    watch, values = WatchForWaiting(), torch.arange(4.0)
    with watch:
        values.sum().item()
        values[values > 1]
        torch.nonzero(values)
    assert watch.found == ["aten::_local_scalar_dense", "aten::index", "aten::nonzero"]


def test_a_copy_follows_changes_within_a_step(small_data: DataSet) -> None:
    """A method may perturb weights, or move statistics, and ask again."""
    trained = Trained(small_cell(), small_data, FastPaths())
    trained.update(0)
    step = trained.step(1)
    plain = FrozenModels(PLAIN)
    for change in ("nothing", "weights", "data", "statistics"):
        with torch.no_grad():
            if change == "weights":
                for parameter in trained.model.parameters():
                    parameter.mul_(1.2)
            if change == "data":
                for parameter in trained.model.parameters():
                    parameter.data = parameter.data + 0.01
            if change == "statistics":
                step.forward(3 * step.natural)
        expected = plain.logits(trained.model, step.natural, "fp32")
        assert torch.allclose(step.logits(step.natural), expected, rtol=1e-3, atol=1e-4), change
    assert trained.model.training


def test_a_copy_is_made_anew_if_tensors_are_exchanged(small_data: DataSet) -> None:
    trained = Trained(small_cell(), small_data, FastPaths())
    trained.update(0)
    step = trained.step(1)
    before = step.logits(step.natural)
    head = trained.model.get_submodule("linear")
    head.weight = nn.Parameter(2 * head.get_parameter("weight"))
    norm = trained.model.get_submodule("bn1")
    norm.running_mean = norm.get_buffer("running_mean") + 0.5
    expected = FrozenModels(PLAIN).logits(trained.model, step.natural, "fp32")
    assert torch.allclose(step.logits(step.natural), expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(before, expected, atol=0.02)


def test_a_copy_goes_with_its_model() -> None:
    """Methods may copy a model in every step, and ask the copy."""
    frozen, images = FrozenModels(FastPaths()), torch.rand(2, 1, 8, 8)
    model = build_model("resnet-mini", 1, 10, 0)
    frozen.logits(model, images, "fp32")
    (copies,) = frozen._copies.values()
    held: list[weakref.ref[Any]] = [weakref.ref(model), weakref.ref(copies[None])]
    del model, copies
    gc.collect()
    assert [reference() for reference in held] == [None, None]


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", {"attack": False, "training": False}),
        ("tf32", {"attack": True, "training": True}),
        ({"attack": "tf32", "training": "fp32"}, {"attack": True, "training": False}),
        ({"attack": "bf16", "training": "tf32"}, {"attack": False, "training": True}),
    ],
)
def test_tf32_is_on_in_the_halves_that_ask_for_it(
    precision: Any, expected: dict[str, bool], small_data: DataSet
) -> None:
    use_ieee_arithmetic()
    found: dict[str, set[bool]] = {"attack": set(), "training": set()}
    trained = Trained(small_cell(method="raat", precision=precision), small_data, PLAIN)

    def note_training(_: Tensor) -> None:
        found["training"].add(torch.backends.cudnn.allow_tf32)

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        half = "attack" if inputs[0].requires_grad and inputs[0].is_leaf else "training"
        found[half].add(torch.backends.cudnn.allow_tf32)
        if half == "training" and torch.is_grad_enabled():
            # In the backward, too.
            weight: Any = trained.model.get_parameter("linear.weight")
            handles.append(weight.register_hook(note_training))

    handles: list[Any] = [trained.model.register_forward_pre_hook(note)]
    trained.update(0)
    for handle in handles:
        handle.remove()
    assert found == {half: {on} for half, on in expected.items()}
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["winograd", "cuda_graphs"])
def test_what_needs_folded_copies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"channels_last {name}")
    with pytest.raises(UserError, match=f"{name} needs fold"):
        fast_paths_from_environment()


def test_a_model_that_cannot_be_folded_is_used_itself() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.modes = nn.Linear(4, 3), list[bool]()

        def forward(self, images: Tensor) -> Tensor:
            self.modes.append(self.training)
            logits: Tensor = self.layer(images.flatten(1))
            return logits

    model, frozen = Linear(), FrozenModels(FastPaths())
    images = torch.rand(2, 1, 2, 2)
    with frozen.frozen(model, images) as used:
        assert used is model
    frozen.logits(model, images, "fp32")
    assert model.modes[-1] is False
    assert model.training


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, ["fold", "winograd", "channels_last", "repeats"]),
        ("", ["fold", "winograd", "channels_last", "repeats"]),
        ("plain", []),
        ("fold", ["fold"]),
        ("fold,repeats cuda_graphs", ["fold", "repeats", "cuda_graphs"]),
    ],
)
def test_the_environment_chooses(
    text: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)
    assert fast_paths_from_environment().names == names


@pytest.mark.parametrize("text", ["flod", "plain fold"])
def test_an_unknown_fast_path_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(
        UserError, match=r"RAAT_FAST_PATHS = .* allowed: fold, winograd, channels_last"
    ):
        fast_paths_from_environment()


def test_the_manifest_says_which_were_taken(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    for text in ("plain", "fold channels_last"):
        monkeypatch.setenv(VARIABLE, text)
        folder = api.train(small_cell(), tmp_path / text, device="cpu", data=small_data)
        (session,) = json.loads((folder / "manifest.json").read_text())["sessions"]
        assert " ".join(session["fast_paths"]) == text.replace("plain", "")
        folders.append(CellFolder(folder))
    plain, fast = folders
    for name, array in read_weights(plain, "last").arrays.items():
        assert np.allclose(array, read_weights(fast, "last").arrays[name], atol=0.02), name


@pytest.mark.parametrize("epochs", [1, 6])
def test_verdicts_are_those_of_the_plain_path(
    epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sample for sample, of a model that has learned little and of one that has learned more."""
    digits = api.load_data_set("digits")
    recipe = {
        "epochs": epochs,
        "batch_size": 64,
        "decay_epochs": [5],
        "augmentation": {"flip": False},
    }
    cell = small_cell(recipe=recipe)
    folder = api.train(cell, tmp_path / "cell", device="cpu", data=digits)
    attacks = list(api.standard_attacks(cell.threat_model))
    chosen = [
        *(attack.model_copy(update={"samples": 120}) for attack in attacks[:-1]),
        attacks[-1].model_copy(update={"samples": 20}),
    ]
    records: list[dict[str, Record]] = []
    for text in ("plain", "fold channels_last"):
        monkeypatch.setenv(VARIABLE, text)
        api.attack(folder, chosen, device="cpu")
        paths = sorted((folder / "records").glob("*.safetensors"))
        records.append({path.name: Record.read(path) for path in paths})
        for path in paths:
            path.unlink()
    plain, fast = records
    assert plain.keys() == fast.keys()
    assert len(plain) == len(attacks)
    for name, record in plain.items():
        assert np.array_equal(record.prediction, fast[name].prediction), name
        assert fast[name].metadata["fast_paths"] == ["fold", "channels_last"]


def test_bad_input_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "foldd")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(small_cell().to_json()))
    assert main(["train", str(spec), "--folder", str(tmp_path / "cell"), "--device", "cpu"]) == 2
    assert "did you mean 'fold'?" in capsys.readouterr().err
