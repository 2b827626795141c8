"""Winograd's convolutions against torch's, and where torch's stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from raat_core.attacks.pgd import Pgd
from raat_core.fast.cpu import winograd
from raat_core.fast.cpu.winograd import WinogradConv2d
from raat_core.fast.folding import FoldedModel, fold, trace
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import FastPaths
from raat_core.models.build import build_model


@pytest.fixture
def of_few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "CHANNELS", 1)


def convolution(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).double().requires_grad_(False)
    return made.to(memory_format=torch.channels_last)


def output_and_gradient(layer: nn.Module, images: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
    leaf = images.clone().requires_grad_()
    output = layer(leaf)
    (gradient,) = torch.autograd.grad(output, leaf, towards)
    return output.detach(), gradient


@settings(deadline=None, max_examples=40)
@given(
    samples=st.integers(1, 3),
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 5),
    tiles=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    bias=st.booleans(),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    seed=st.integers(0, 100),
)
def test_outputs_and_input_gradients_are_torchs(
    samples: int, inputs: int, outputs: int, tiles: tuple[int, int], bias: bool,
    layout: torch.memory_format, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    direct = convolution(inputs, outputs, bias=bias)
    height, width = 4 * tiles[0], 4 * tiles[1]
    images = torch.randn(samples, inputs, height, width, dtype=torch.float64)
    towards = torch.randn(samples, outputs, height, width, dtype=torch.float64)
    images, towards = (each.contiguous(memory_format=layout) for each in (images, towards))
    expected = output_and_gradient(direct, images, towards)
    found = output_and_gradient(WinogradConv2d(direct), images, towards)
    for mine, its in zip(found, expected, strict=True):
        assert torch.allclose(mine, its, rtol=1e-11, atol=1e-11)
        assert mine.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("channels", "size"), [(256, 8), (512, 4), (640, 8)])
def test_rounding_in_single_precision(channels: int, size: int) -> None:
    """A few times torch's own, which is 1e-6 of the largest."""
    torch.manual_seed(0)
    direct = convolution(channels, channels)
    images = torch.randn(4, channels, size, size).relu()
    towards = torch.randn(4, channels, size, size)
    expected = output_and_gradient(direct, images.double(), towards.double())
    found = output_and_gradient(WinogradConv2d(direct.float()), images, towards)
    for mine, its in zip(found, expected, strict=True):
        assert (mine - its).abs().max() < 2e-5 * its.abs().max()


def test_weights_that_changed_are_followed_when_it_is_told_to_forget() -> None:
    direct = convolution(3, 2)
    quick, images = WinogradConv2d(direct), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    before, _ = output_and_gradient(quick, images, torch.ones(2, 2, 8, 8))
    direct.weight.mul_(2)
    assert torch.equal(quick(images), before)
    quick.forget()
    towards = torch.ones(2, 2, 8, 8, dtype=torch.float64)
    expected = output_and_gradient(direct, images, towards)
    found = output_and_gradient(quick, images, towards)
    assert all(map(torch.allclose, found, expected))


@pytest.mark.parametrize("reason", ["no whole tiles", "gradients of weights", "another dtype"])
def test_torchs_is_used(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = convolution(3, 2).float()
    quick = WinogradConv2d(direct)
    images = torch.rand(2, 3, 8, 6 if reason == "no whole tiles" else 8)
    direct.weight.requires_grad_(reason == "gradients of weights")
    monkeypatch.setattr(quick, "kernels", lambda **_: pytest.fail("Winograd's is used"))
    with torch.autocast("cpu", torch.bfloat16, enabled=reason == "another dtype"):
        given = images.bfloat16() if reason == "another dtype" else images
        assert torch.equal(quick(given), direct(given))


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 1, "padding": 0},
        {"kernel_size": 5, "padding": 1},
        {"padding": 0},
        {"padding": (1, 0)},
        {"stride": 2},
        {"dilation": 2},
        {"groups": 2},
        {"padding_mode": "reflect"},
        {"in_channels": winograd.CHANNELS - 2},
        {"out_channels": winograd.CHANNELS - 2},
        {"device": "meta"},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_what_it_cannot_take(settings: dict[str, Any]) -> None:
    usual = {"in_channels": 256, "out_channels": 256, "kernel_size": 3, "padding": 1}
    assert WinogradConv2d.can_take(nn.Conv2d(**usual))  # type: ignore[arg-type]
    assert not WinogradConv2d.can_take(nn.Conv2d(**{**usual, **settings}))


def test_it_draws_nothing_and_shares_parameters() -> None:
    direct = convolution(3, 2)
    before = torch.random.get_rng_state()
    quick = WinogradConv2d(direct)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (quick.weight, quick.bias) == (direct.weight, direct.bias)
    quick(torch.rand(1, 3, 4, 4, dtype=torch.float64))
    assert list(quick.state_dict()) == ["weight", "bias"]


PLACES = {"resnet-18": 6, "preact-resnet-18": 6, "wrn-28-10": 21, "resnet-mini": 0}
"""Of the convolutions that do not halve the image, those with 160 channels or more."""


@pytest.mark.parametrize("architecture", PLACES)
def test_where_a_copy_has_it(architecture: str) -> None:
    model = build_model(architecture, 1 if architecture == "resnet-mini" else 3, 10, 0).eval()
    copied = FoldedModel(model, trace(model), winograd=True).module
    found = [module for module in copied.modules() if isinstance(module, WinogradConv2d)]
    assert len(found) == PLACES[architecture]
    assert all(not parameter.requires_grad for parameter in copied.parameters())


def test_evaluations_have_torchs() -> None:
    model = build_model("resnet-18", 3, 10, 0).eval()
    copied = fold(model, torch.rand(2, 3, 8, 8))
    assert copied is not None
    assert {type(m) for m in copied.module.modules() if isinstance(m, nn.Conv2d)} == {nn.Conv2d}


@pytest.mark.usefixtures("of_few_channels")
def test_kernels_are_held_while_a_copy_is_used() -> None:
    """They are four times the weights, and twice: memory that the training half has use for."""
    model, images = build_model("resnet-mini", 1, 10, 0), torch.rand(2, 1, 8, 8)
    with FrozenModels(FastPaths()).frozen(model, images) as frozen:
        frozen(images)
        layers = [module for module in frozen.modules() if isinstance(module, WinogradConv2d)]
        assert layers
        assert all(len(layer._kernels) == 1 for layer in layers)
    assert not any(layer._kernels for layer in layers)


@pytest.mark.usefixtures("of_few_channels")
def test_a_refreshed_copy_has_the_models_weights() -> None:
    model, images = build_model("preact-resnet-18", 3, 10, 0).eval(), torch.rand(2, 3, 32, 32)
    copied = fold(model, images, winograd=True)
    assert copied is not None
    with torch.no_grad():
        copied.module(images)
        for parameter in model.parameters():
            parameter.mul_(1.3)
        copied.refresh()
        assert torch.allclose(copied.module(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trained", [False, True])
def test_ten_attack_steps_on_a_resnet_find_as_much(trained: bool) -> None:
    """With the channels that it is for, in single precision.

    Rounding grows in twenty layers and ten steps: folding alone moves as many pixels.
    """
    torch.manual_seed(0)
    model, images = build_model("resnet-18", 3, 10, 0), torch.rand(8, 3, 32, 32)
    labels = torch.arange(8)
    if trained:
        optimizer = torch.optim.SGD(model.train().parameters(), 0.05)
        for _ in range(3):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(images), labels))
            optimizer.step()
    pgd, found = Pgd("linf", 8 / 255, 2 / 255, 10), []
    for fast in (FastPaths(), FastPaths(winograd=False)):
        begun = pgd.perturb(images, torch.Generator().manual_seed(0))
        found.append(FrozenModels(fast).attack(pgd, model, images, labels, begun, "fp32"))
    assert not torch.equal(*found)
    assert ((found[0] - found[1]).abs() > 1 / 255).double().mean() <= 0.05
    with torch.no_grad():
        mine, its = (model.eval()(some) for some in found)
    assert torch.equal(mine.argmax(1), its.argmax(1))
    losses = [functional.cross_entropy(some, labels).item() for some in (mine, its)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
