"""Networks from outside the package that have no BatchNorm; one of them draws in its layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import NETWORK_PLUGIN, small_cell
from outcomes import assert_equal_outcome, run_with_stops, train, weights_of
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.data.dataset import DataSet
from raat_core.fast.folding import fold
from raat_core.fast.switches import FastPaths
from raat_core.models.build import build_model_for
from raat_core.training.trainee import Trainee

ADAMW: dict[str, Any] = {
    "optimiser": "adamw",
    "learning_rate": 0.003,
    "weight_decay": 0.05,
    "schedule": {"kind": "cosine", "per": "step", "warmup_epochs": 1},
}
RECIPES: dict[str, dict[str, Any]] = {
    "vit-mini": {**ADAMW, "epochs": 2, "batch_size": 32},
    "group-net": {"epochs": 2, "batch_size": 32, "schedule": "cosine"},
}
CHANGES: list[dict[str, Any]] = [
    {},
    {"averaging": {"kind": "ema", "decay": 0.8}},
    {"averaging": {"kind": "swa", "from_epoch": 1, "evaluate_other": True}},
    {"perturbation": "awp", "gradient_clipping": 1.0},
    {"attack_batchnorm": "train"},
]
NETWORKS = pytest.mark.parametrize("network", RECIPES)


@pytest.fixture(autouse=True)
def _networks() -> None:
    api.load_plugin(str(NETWORK_PLUGIN))


def cell_of(network: str, recipe: dict[str, Any] | None = None, **changes: Any) -> Cell:
    recipe = {**RECIPES[network], **(recipe or {})}
    return small_cell(architecture=network, recipe=recipe, **changes)


@NETWORKS
@pytest.mark.parametrize("recipe", CHANGES, ids=str)
def test_an_interrupted_training_ends_as_one_that_ran_through(
    network: str, recipe: dict[str, Any], tmp_path: Path, small_data: DataSet
) -> None:
    """Dropout, too, is a function of seed, epoch and step."""
    cell = cell_of(network, recipe)
    through = train(cell, tmp_path / "through", small_data)
    torch.manual_seed(123)
    stopped, sessions = run_with_stops(cell, tmp_path / "stopped", small_data, every=7)
    assert sessions > 1
    assert_equal_outcome(through, stopped)


def test_layers_draw_anew_in_every_step(small_data: DataSet) -> None:
    """And leave torch's own generator where it was."""
    trainee = Trainee.build(cell_of("vit-mini"), torch.device("cpu"), FastPaths())
    seen: list[Tensor] = []
    dropout = next(m for m in trainee.model.modules() if isinstance(m, nn.Dropout))
    dropout.register_forward_hook(lambda module, given, found: seen.append(found == 0))
    before = torch.get_rng_state()
    for epoch, number in ((0, 0), (0, 1), (1, 0), (0, 0)):
        trainee.update(trainee.draw(small_data.train, torch.arange(32), epoch, number))
    assert torch.equal(torch.get_rng_state(), before)
    first, *others, again = [each for each in seen if bool(each.any())]
    assert torch.equal(first, again)
    assert len(others) == 2
    assert not any(torch.equal(first, other) for other in others)


@NETWORKS
def test_a_step_in_bf16_is_finite(network: str, small_data: DataSet) -> None:
    cell = cell_of(network, precision="bf16")
    trainee = Trainee.build(cell, torch.device("cpu"), FastPaths())
    terms = trainee.update(trainee.draw(small_data.train, torch.arange(32), 0, 0))
    assert all(term.isfinite() for term in terms.values())
    assert all(tensor.isfinite().all() for tensor in trainee.model.state_dict().values())


@NETWORKS
def test_nothing_is_folded(network: str, small_data: DataSet) -> None:
    images, _ = small_data.train.batch(torch.arange(2))
    assert fold(build_model_for(network, "digits", 0), images) is None


def test_an_average_is_of_what_is_no_parameter_of_a_norm_too(
    tmp_path: Path, small_data: DataSet
) -> None:
    """One epoch of SWA is the trained network itself: there are no statistics to estimate."""
    swa = {"averaging": {"kind": "swa", "from_epoch": 1}}
    averaged = weights_of(train(cell_of("vit-mini", swa), tmp_path / "swa", small_data))
    plain = weights_of(train(cell_of("vit-mini"), tmp_path / "plain", small_data))
    for name in plain:
        if name.startswith("last."):
            assert np.array_equal(averaged[name], plain[name]), name


def test_awp_moves_what_has_more_than_one_dimension(small_data: DataSet) -> None:
    """Patches, attention and linear layers; no norm, no bias, and no positions."""
    cell = cell_of("vit-mini", {"perturbation": {"kind": "awp", "gamma": 0.05}})
    trainee = Trainee.build(cell, torch.device("cpu"), FastPaths())
    assert trainee.perturbation is not None
    names = set(trainee.perturbation.weights)
    assert {"patches.weight", "blocks.1.self_attn.in_proj_weight", "head.weight"} <= names
    assert not any("norm" in name or "bias" in name or name == "positions" for name in names)
    plain = Trainee.build(cell_of("vit-mini"), torch.device("cpu"), FastPaths())
    for each in (trainee, plain):
        each.update(each.draw(small_data.train, torch.arange(32), 0, 0))
    moved = trainee.model.state_dict()
    assert not torch.equal(moved["head.weight"], plain.model.state_dict()["head.weight"])


@pytest.mark.parametrize("method", ["trades", "mart", "cons-at", "raat", "rebat"])
def test_built_in_methods_train_them(method: str, tmp_path: Path, small_data: DataSet) -> None:
    settings = {"name": method, **({"average_from": 1} if method == "rebat" else {})}
    through = train(cell_of("vit-mini", method=settings), tmp_path, small_data)
    assert weights_of(through)
