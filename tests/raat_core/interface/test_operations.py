"""Counted operations are those that torch carries out: of models, attacks, and training steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import SMALL_CELL, TOY_METHOD, small_cell
from flops import counted_flop
from raat_core import api
from raat_core.attacks.pgd import Pgd
from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.cells.cell import Cell
from raat_core.cost.flop import operations, operations_of
from raat_core.data.dataset import DataSet, Split
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import FastPaths
from raat_core.interface.operations import ImageShape, Operations, Passes
from raat_core.interface.registry import BUILT_IN_ARCHITECTURES, BUILT_IN_METHODS, build_method
from raat_core.models.build import build_model, build_model_for
from raat_core.models.resnet import ResNet
from raat_core.training.step import TrainingStep

COUNT = 4
STEPS = 3
SHAPES: list[tuple[ImageShape, int]] = [
    ((1, 8, 8), 10),
    ((3, 32, 32), 100),
    ((3, 64, 64), 200),
    ((3, 33, 37), 7),
    ((2, 65, 70), 4),
]
SMALL = ["resnet-mini", "resnet-18", "resnet-18-bottleneck", "preact-resnet-18"]


@pytest.mark.parametrize("architecture", BUILT_IN_ARCHITECTURES)
@pytest.mark.parametrize(("shape", "classes"), SHAPES, ids=str)
def test_a_forward_pass(architecture: str, shape: ImageShape, classes: int) -> None:
    info = ARCHITECTURES[architecture]
    if info.channels not in (None, shape[0]):
        pytest.skip("takes images of other channels")
    with torch.device("meta"):
        model = build_model(architecture, shape[0], classes, seed=0, image_size=min(shape[1:]))
        counted = counted_flop(lambda: model.eval()(torch.empty(1, *shape)))
    assert operations(architecture, shape, classes).forward == counted


@pytest.mark.parametrize("architecture", SMALL)
def test_a_step_of_an_attack_does_not_compute_the_weights_gradients(architecture: str) -> None:
    model = build_model(architecture, 1, 10, seed=0, image_size=8).eval()
    assert all(parameter.requires_grad for parameter in model.parameters())
    images, labels = torch.rand(COUNT, 1, 8, 8), torch.zeros(COUNT, dtype=torch.int64)
    pgd = Pgd("linf", epsilon=0.1, step_size=0.05, steps=1)
    counted = counted_flop(lambda: pgd.run(model, images, labels, torch.Generator()))
    assert counted == COUNT * operations(architecture, (1, 8, 8), 10).gradient


@pytest.mark.parametrize("architecture", SMALL)
def test_a_training_pass_does_not_compute_the_images_gradient(architecture: str) -> None:
    model = build_model(architecture, 1, 10, seed=0, image_size=8)
    images = torch.rand(COUNT, 1, 8, 8)
    counted = counted_flop(lambda: model(images).sum().backward())
    assert counted == COUNT * operations(architecture, (1, 8, 8), 10).update


def test_passes_add_up() -> None:
    model = Operations(forward=10.0, stem=1.0)
    passes = 0.5 * Passes(forwards=2, gradients=4) + Passes(updates=1)
    assert passes == Passes(forwards=1, gradients=2, updates=1)
    assert passes.flop(model) == 10 + 2 * 20 + 29


# Methods

AVERAGING = ("wa", "rebat", "raat#")
SETTINGS: list[dict[str, Any]] = [
    *({"name": name} for name in BUILT_IN_METHODS),
    *({"name": name, "variant": "released"} for name in BUILT_IN_METHODS),
    {"name": "raat#", "kl_lambda": 1},
    {"name": "raat#", "variant": "released", "kl_lambda": 1},
    {"name": "raat#", "variant": "released", "reduced_sample": "attack"},
    {"name": "raat#", "variant": "released", "supervised_views": "both"},
    {"name": "raat#", "reduced_for": "table-4"},
    {"name": "raat#", "reduced_for": "released"},
    *(
        {"name": name, **change}
        for name in ("raat", "raat++")
        for change in (
            {"dicar": False},
            {"reduce_boundary": False},
            {"reduced_sample": "scaled"},
            {"reduced_for": "table-4"},
            {"reduced_for": "released"},
            {"dicar_keeps": "both-views"},
            {"dicar_mean": "kept"},
            {"variant": "released", "dicar": False},
            {"variant": "released", "reduce_boundary": False},
            {"variant": "released", "dicar_keeps": "natural"},
        )
    ),
    {"name": "raat++", "repeat_forwards": True},
    {"name": "raat++", "repeat_forwards": True, "reduce_boundary": False},
    {"name": "raat", "clean_forward": "eval"},
    {"name": "boundary-study", "boundary": "zero", "non_boundary": "zero"},
    {"name": "boundary-study", "boundary": "threshold"},
]


def cell_with(method: Any) -> Cell:
    threat = {"norm": "linf", "epsilon": 0.1, "step_size": 0.05, "steps": STEPS}
    if not isinstance(method, dict) or method["name"] not in AVERAGING:
        return small_cell(method=method, threat_model=threat)
    # Averaging from the first epoch on, and the released code's attack, which `passes` is of.
    recipe = {**SMALL_CELL["recipe"], "attack_batchnorm": "train"}
    return small_cell(method={**method, "average_from": 0}, threat_model=threat, recipe=recipe)


def step_flop(cell: Cell, model: ResNet, split: Split) -> float:
    """Counted operations of a training step on all samples, for each of them."""
    method = build_method(cell.method, cell.facts())
    step = TrainingStep.draw(
        cell, model, FrozenModels(FastPaths(fold=False)), split, torch.arange(len(split)),
        views=method.views, epoch=0, number=0,
    )  # fmt: skip

    def work() -> None:
        terms: list[Tensor] = list(method.loss(step).values())
        torch.autograd.backward(torch.stack(terms).sum())
        method.after_step(step)

    return counted_flop(work) / len(split)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("correct", [0, 1])
def test_what_a_training_step_costs(
    settings: dict[str, Any], correct: int, small_data: DataSet
) -> None:
    """At both ends: all samples are classified correctly, or none is."""
    cell = cell_with(settings)
    model = build_model_for(cell.architecture, cell.dataset, seed=0)
    assert isinstance(model, ResNet)
    # All samples are of the class that is always predicted, or none.
    predicted = 3
    with torch.no_grad():
        model.linear.bias[predicted] = 30.0
    split = small_data.train.take(torch.arange(8))
    labels = torch.full((8,), predicted if correct else predicted + 1)
    counted = step_flop(cell, model.train(), Split(split.images, labels, split.levels))
    passes = build_method(cell.method, cell.facts()).passes(STEPS, float(correct))
    assert passes.flop(operations_of(cell)) == pytest.approx(counted, rel=0.02)


def test_a_method_that_does_not_say_gets_a_bound(small_data: DataSet) -> None:
    api.load_plugin(str(TOY_METHOD))
    cell = cell_with("toy")
    model = build_model_for(cell.architecture, cell.dataset, seed=0)
    assert isinstance(model, ResNet)
    counted = step_flop(cell, model.train(), small_data.train.take(torch.arange(8)))
    passes = build_method(cell.method, cell.facts()).passes(STEPS, 1.0)
    assert passes == Passes(gradients=STEPS, updates=2)
    assert counted < passes.flop(operations_of(cell)) < 1.5 * counted
