"""Architectures: their shapes and sizes, what they compute at the edges, how they are made."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.interface.registry import BUILT_IN_ARCHITECTURES
from raat_core.models.build import build_model
from raat_core.models.preact_resnet import CIFAR10_MEAN, CIFAR10_STD

OF_ANY_CHANNELS = [name for name in BUILT_IN_ARCHITECTURES if ARCHITECTURES[name].channels is None]
LARGE = "wrn-28-10"
"""Takes a second where others take a tenth of one."""


def images(count: int, channels: int = 3, size: int = 32) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def conv(inputs: int, outputs: int, size: int) -> int:
    return inputs * outputs * size**2


def bn(width: int) -> int:
    return 2 * width


def transitions(widths: list[int], expansion: int, count: int, first: int) -> Iterator[list[int]]:
    """(inputs, width, outputs) of every block of a network."""
    inputs = first
    for width in widths:
        for _ in range(count):
            yield [inputs, width, expansion * width]
            inputs = expansion * width


def parameters_of_basic(channels: int, classes: int, widths: list[int], count: int) -> int:
    total = conv(channels, widths[0], 3) + bn(widths[0])
    for inputs, width, _ in transitions(widths, 1, count, widths[0]):
        total += conv(inputs, width, 3) + conv(width, width, 3) + 2 * bn(width)
        total += conv(inputs, width, 1) + bn(width) if inputs != width else 0
    return total + (widths[-1] + 1) * classes


def parameters_of_bottleneck(channels: int, classes: int, widths: list[int], count: int) -> int:
    total = conv(channels, widths[0], 3) + bn(widths[0])
    for inputs, width, outputs in transitions(widths, 4, count, widths[0]):
        total += conv(inputs, width, 1) + conv(width, width, 3) + conv(width, outputs, 1)
        total += 2 * bn(width) + bn(outputs)
        total += conv(inputs, outputs, 1) + bn(outputs) if inputs != outputs else 0
    return total + (4 * widths[-1] + 1) * classes


def parameters_of_preact(
    channels: int, classes: int, widths: list[int], count: int, first: int
) -> int:
    total = conv(channels, first, 3)
    for inputs, width, _ in transitions(widths, 1, count, first):
        total += bn(inputs) + conv(inputs, width, 3) + bn(width) + conv(width, width, 3)
        total += conv(inputs, width, 1) if inputs != width else 0
    return total + bn(widths[-1]) + (widths[-1] + 1) * classes


FOUR = [64, 128, 256, 512]


@pytest.mark.parametrize(
    ("architecture", "known"),
    [("resnet-18", 11_173_962), ("preact-resnet-18", 11_172_170), (LARGE, 36_479_194)],
)
def test_parameters_as_published(architecture: str, known: int) -> None:
    assert parameters(build_model(architecture, 3, 10, seed=0)) == known


@pytest.mark.parametrize(("channels", "classes"), [(3, 10), (1, 7)])
def test_parameters_by_the_papers_tables(channels: int, classes: int) -> None:
    expected = {
        "resnet-mini": parameters_of_basic(channels, classes, [16, 32], 1),
        "resnet-18": parameters_of_basic(channels, classes, FOUR, 2),
        "resnet-18-bottleneck": parameters_of_bottleneck(channels, classes, FOUR, 2),
        "preact-resnet-18": parameters_of_preact(channels, classes, FOUR, 2, 64),
        LARGE: parameters_of_preact(channels, classes, [160, 320, 640], 4, 16),
    }
    assert expected.keys() == set(OF_ANY_CHANNELS)
    for architecture, count in expected.items():
        with torch.device("meta"):
            assert parameters(build_model(architecture, channels, classes, seed=0)) == count


@pytest.mark.parametrize("architecture", [name for name in OF_ANY_CHANNELS if name != LARGE])
@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 64), (4, 8)])
def test_logits_of_any_images_in_double_precision(
    architecture: str, channels: int, size: int
) -> None:
    model = build_model(architecture, channels, 7, seed=0, image_size=size).double().eval()
    logits = model(images(2, channels, size).double())
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float64
    assert logits.isfinite().all()


@pytest.mark.parametrize("architecture", BUILT_IN_ARCHITECTURES)
def test_a_training_step(architecture: str) -> None:
    """Every parameter has a part in the loss, and so has the image."""
    count, size = (2, 8) if architecture == LARGE else (4, 16)
    model = build_model(architecture, 3, 10, seed=0).train()
    batch = images(count, size=size).requires_grad_()
    before = functional.cross_entropy(model(batch), torch.arange(count))
    before.backward()  # type: ignore[no-untyped-call]
    for name, value in [("images", batch), *model.named_parameters()]:
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.any(), name
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    with torch.no_grad():
        after = functional.cross_entropy(model(batch), torch.arange(count))
    assert after < before


@pytest.mark.parametrize("architecture", [name for name in BUILT_IN_ARCHITECTURES if name != LARGE])
def test_weights_are_a_function_of_the_seed(architecture: str) -> None:
    first, again, other = (
        build_model(architecture, 3, 10, seed=seed).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = next(name for name in first if name.endswith("conv1.weight"))
    assert not torch.equal(first[weights], other[weights])


def test_wide_networks_start_from_fan_out() -> None:
    model = build_model(LARGE, 3, 10, seed=0)
    assert model(images(1)).shape == (1, 10)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
    assert isinstance(model.linear, nn.Linear)
    assert not model.linear.bias.any()


def test_normalisation_is_inside_the_model() -> None:
    """It sees pixels in [0, 1], is differentiated through, and is no part of a checkpoint."""
    plain = build_model("preact-resnet-18", 3, 10, seed=0).double().eval()
    normalised = build_model("preact-resnet-18-normalised", 3, 10, seed=0).double().eval()
    assert [weight.shape for weight in plain.state_dict().values()] == [
        weight.shape for weight in normalised.state_dict().values()
    ]
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (CIFAR10_MEAN, CIFAR10_STD))
    outside = images(2).double().requires_grad_()
    inside = images(2).double().requires_grad_()
    expected, found = plain((outside - mean) / std), normalised(inside)
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad(logits.square().sum(), pixels)[0]
        for logits, pixels in ((expected, outside), (found, inside))
    ]
    torch.testing.assert_close(*gradients)
