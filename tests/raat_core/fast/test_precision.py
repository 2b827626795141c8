"""Arithmetic as a setting of the cell: what it is called, what it changes, and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import short_method, small_cell
from outcomes import assert_equal_outcome, run_with_stops
from raat_core import api
from raat_core.attacks.pgd import Pgd
from raat_core.cells.folder import CellFolder
from raat_core.cells.weights import read_weights
from raat_core.cost.timing import kind_of_training
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.fast.arithmetic import compute_logits, in_arithmetic, use_ieee_arithmetic
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import FastPaths
from raat_core.interface.registry import BUILT_IN_METHODS
from raat_core.models.build import build_model
from raat_core.specs.precision import FP32, Precision

HALVES = {"attack": "bf16", "training": "fp32"}


@pytest.mark.parametrize("given", ["fp32", "tf32", "bf16", HALVES])
def test_a_spec_is_read_back_as_it_was_written(given: Any) -> None:
    cell = small_cell(precision=given)
    assert cell.to_json()["precision"] == given
    assert api.cell(cell.to_json()) == cell


def test_both_ways_to_write_it_are_one_cell() -> None:
    both = {"attack": "bf16", "training": "bf16"}
    assert small_cell(precision=both).digest == small_cell(precision="bf16").digest
    assert small_cell(precision={"attack": "fp32", "training": "fp32"}) == small_cell()


def test_every_arithmetic_is_a_cell_of_its_own() -> None:
    names = [small_cell(precision=each).name for each in ("fp32", "tf32", "bf16", HALVES)]
    assert len(set(names)) == 4
    assert "-bf16_s0_" in names[2]
    assert "-attack-bf16-training-fp32_s0_" in names[3]
    assert "fp32" not in names[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fp16", r"precision = 'fp16': unknown arithmetic; did you mean 'bf16'\?"),
        ({"attack": "bf16"}, r"precision.training: is missing"),
        ({"attack": "half", "training": "fp32"}, r"precision.attack = 'half'"),
        (16, r"precision = 16"),
    ],
)
def test_bad_input(given: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        small_cell(precision=given)


def test_what_training_in_it_counts_as() -> None:
    assert kind_of_training(FP32) == "training"
    assert kind_of_training(Precision(attack="bf16", training="fp32")) == "reduced-training"


@pytest.mark.parametrize("method", [short_method(name) for name in BUILT_IN_METHODS], ids=str)
def test_training_in_bf16_resumes_bit_for_bit(
    method: dict[str, Any], tmp_path: Path, small_data: DataSet
) -> None:
    cell = small_cell(method=method, precision="bf16")
    through = CellFolder(api.train(cell, tmp_path / "through", device="cpu", data=small_data))
    stopped, sessions = run_with_stops(cell, tmp_path / "stopped", small_data, every=4)
    assert sessions > 3
    assert_equal_outcome(through, stopped)
    for array in read_weights(through, "last").arrays.values():
        assert array.dtype in (np.float32, np.int64)


@pytest.mark.parametrize("precision", ["bf16", HALVES])
def test_it_changes_the_weights_a_little(
    precision: Any, tmp_path: Path, small_data: DataSet
) -> None:
    folders = [
        CellFolder(api.train(cell, tmp_path / cell.name, device="cpu", data=small_data))
        for cell in (small_cell(), small_cell(precision=precision))
    ]
    plain, reduced = (read_weights(folder, "last").arrays for folder in folders)
    weight = "stages.0.conv1.weight"
    difference = np.abs(plain[weight] - reduced[weight]).max()
    assert 1e-7 < difference < 0.1


def test_where_each_half_is_used(small_data: DataSet, tmp_path: Path) -> None:
    """bf16 in the attack: convolutions of the trained model itself only ever see float32."""
    seen: set[tuple[torch.dtype, bool]] = set()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            seen.add((output.dtype, module.weight.requires_grad))

    handle = nn.modules.module.register_module_forward_hook(note)
    try:
        api.train(small_cell(precision=HALVES), tmp_path / "a", device="cpu", data=small_data)
        halves = set(seen)
        seen.clear()
        api.train(small_cell(precision="bf16"), tmp_path / "b", device="cpu", data=small_data)
    finally:
        handle.remove()
    # Trained in fp32, attacked in bf16, and evaluated in fp32.
    assert halves == {(torch.float32, True), (torch.bfloat16, False), (torch.float32, False)}
    # The first forward of all compares a new copy with its model, in fp32.
    assert seen == halves | {(torch.bfloat16, True)}


def test_logits_keep_the_dtype_of_the_images() -> None:
    model, images = build_model("resnet-mini", 1, 10, 0).eval(), torch.rand(2, 1, 8, 8)
    exact = compute_logits(model, images, "fp32")
    assert torch.equal(compute_logits(model, images, "tf32"), exact)  # On a CPU.
    reduced = compute_logits(model, images, "bf16")
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, exact)
    assert torch.allclose(reduced, exact, atol=0.02)


def test_tf32_ends_with_its_block() -> None:
    def allowed() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    use_ieee_arithmetic()
    assert allowed() == (False, False)
    with in_arithmetic("tf32"):
        assert allowed() == (True, True)
        with in_arithmetic("fp32"):  # The attack's, within a training step in tf32.
            assert allowed() == (False, False)
        assert allowed() == (True, True)
    with pytest.raises(KeyError), in_arithmetic("tf32"):
        raise KeyError
    assert allowed() == (False, False)


def test_the_attack_in_bf16_is_nearly_the_same(small_data: DataSet) -> None:
    cell = small_cell()
    model = build_model("resnet-mini", 1, 10, cell.seed).train()
    images, labels = small_data.test.batch(torch.arange(60))
    pgd, found = Pgd("linf", 0.15, 0.05, 1), []
    for arithmetic in ("fp32", "bf16"):
        begun = pgd.perturb(images, torch.Generator().manual_seed(0))
        frozen = FrozenModels(FastPaths())
        found.append(frozen.attack(pgd, model, images, labels, begun, arithmetic))
    exact, reduced = found
    assert reduced.dtype == torch.float32
    flipped = ((reduced - exact).abs() > 1e-3).double().mean()
    assert 0 < flipped < 0.1
    assert (reduced - images).abs().max() <= 0.15 + 1e-6
