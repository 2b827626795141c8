"""Folded copies: the model's logits, kept up to date in place; none of what is not understood."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.fast.folding import FoldedModel, fold, trace
from raat_core.interface.registry import BUILT_IN_ARCHITECTURES
from raat_core.models.build import build_model

FOLDED = {
    "resnet-mini": 6,
    "resnet-18": 20,
    "resnet-18-bottleneck": 29,
    "preact-resnet-18": 8,
    "preact-resnet-18-normalised": 8,
    "wrn-28-10": 13,
}
"""Of a pre-activation network only the norms between the two convolutions of a block, and the first
one if no shortcut goes around it: its others are behind additions."""
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5}
"""Of logits, relative to the largest."""


def images_of(channels: int, size: int, count: int = 6) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(3))


def moved(model: nn.Module, images: Tensor, steps: int = 3) -> nn.Module:
    """The model after a few steps: weights, factors, summands and statistics are not 0 and 1."""
    torch.manual_seed(1)
    for _ in range(steps):
        model.train()
        loss = functional.cross_entropy(model(images), torch.arange(len(images)) % 5)
        model.zero_grad()
        torch.autograd.backward(loss)
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.1 * parameter.grad + 0.02 * torch.randn_like(parameter))
    return model.eval()


def folded_copy(model: nn.Module, dtype: torch.dtype | None = None) -> FoldedModel:
    return FoldedModel(model, trace(model), dtype)


def distance(first: Tensor, second: Tensor) -> float:
    return ((first - second).abs().max() / second.abs().max()).item()


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("architecture", sorted(BUILT_IN_ARCHITECTURES))
def test_logits_and_input_gradients_are_the_models(architecture: str, trained: bool) -> None:
    large = architecture == "wrn-28-10"
    channels = ARCHITECTURES[architecture].channels or 3
    images = images_of(channels, 8 if large else 16, 2 if large else 6)
    for dtype, rounding in ROUNDING.items():
        model = build_model(architecture, channels, 5, 0).to(dtype).eval()
        given = images.to(dtype)
        if trained:
            moved(model, given, 1 if large else 3)
        copied = fold(model, given)
        assert copied is not None
        assert copied.folded == FOLDED[architecture]
        assert not any(parameter.requires_grad for parameter in copied.module.parameters())
        results = []
        for network in (model, copied.module):
            leaf = given.clone().requires_grad_()
            logits = network(leaf)
            (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), leaf)
            results.append((logits.detach(), gradient))
        (expected, slope), (found, folded_slope) = results
        assert distance(found, expected) < rounding
        if dtype == torch.float64:
            assert distance(folded_slope, slope) < rounding
        else:
            # ReLUs at the edge of zero: a slope has jumps that logits have not, and in fp32 a
            # processor's rounding decides which pixels see one.
            assert (folded_slope - slope).norm() < 1000 * rounding * slope.norm()


def test_refreshing_follows_every_change_in_place() -> None:
    images = images_of(3, 16)
    model = moved(build_model("preact-resnet-18-normalised", 3, 10, 0), images)
    copied = folded_copy(model)
    places = [parameter.data_ptr() for parameter in copied.module.state_dict().values()]
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1.01).add_(0.01)
    before = copied.module(images)
    copied.refresh()
    assert distance(copied.module(images), model(images)) < 1e-5
    assert distance(before, model(images)) > 1e-2
    assert places == [parameter.data_ptr() for parameter in copied.module.state_dict().values()]


def test_the_model_is_left_alone() -> None:
    images = images_of(3, 16)
    model = build_model("resnet-18", 3, 10, 0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copied = fold(model, images)
    assert copied is not None
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    copied.module(images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    held = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert held.isdisjoint(tensor.data_ptr() for tensor in copied.module.state_dict().values())


def test_in_bfloat16_the_convolutions_alone_are() -> None:
    copied = folded_copy(build_model("preact-resnet-18", 3, 10, 0), torch.bfloat16)
    for module in copied.module.modules():
        for parameter in module.parameters(recurse=False):
            reduced = isinstance(module, nn.Conv2d | nn.Linear)
            assert parameter.dtype == (torch.bfloat16 if reduced else torch.float32)


class Small(nn.Module):
    """Two convolutions and norms, used as `use` says."""

    def __init__(self, use: Callable[[Small, Tensor], Tensor], **norm: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, bias=True), nn.Conv2d(4, 4, 3)
        self.norm, self.other = nn.BatchNorm2d(4, **norm), nn.BatchNorm2d(4, **norm)
        self.use = use

    def forward(self, images: Tensor) -> Tensor:
        return self.use(self, images).mean((2, 3))


USES: dict[str, tuple[Callable[[Small, Tensor], Tensor], dict[str, bool], int]] = {
    "a convolution with a bias": (lambda m, x: m.norm(m.first(x)), {}, 1),
    "both": (lambda m, x: m.other(m.second(m.norm(m.first(x)).relu())), {}, 2),
    "the convolution's output is used twice": (
        lambda m, x: m.norm(h := m.first(x)) + h,
        {},
        0,
    ),
    "a convolution called twice": (
        lambda m, x: m.other(m.second(m.norm(m.second(m.first(x))))),
        {},
        0,
    ),
    "a norm called twice": (lambda m, x: m.norm(m.second(m.norm(m.first(x)))), {}, 0),
    "something between": (lambda m, x: m.norm(m.first(x).relu()), {}, 0),
    "no factors": (lambda m, x: m.norm(m.first(x)), {"affine": False}, 0),
    "no statistics": (lambda m, x: m.norm(m.first(x)), {"track_running_stats": False}, 0),
}


@pytest.mark.parametrize("name", USES)
def test_only_what_is_alone_behind_a_convolution_is_folded(name: str) -> None:
    use, norm, folded = USES[name]
    model = Small(use, **norm).double().eval()
    images = images_of(3, 8).double()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.3)
    copied = folded_copy(model)
    assert copied.folded == folded
    assert torch.allclose(copied.module(images), model(images), rtol=1e-10)
    assert (fold(model, images) is None) == (folded == 0)


def depends_on_values(model: Small, images: Tensor) -> Tensor:
    hidden: Tensor = model.norm(model.first(images))
    return hidden if hidden.mean() > 0 else -hidden


CALLS: list[int] = []


def counts_its_calls(model: Small, images: Tensor) -> Tensor:
    CALLS.append(1)
    hidden: Tensor = model.norm(model.first(images))
    return hidden * len(CALLS)


@pytest.mark.parametrize("use", [depends_on_values, counts_its_calls])
def test_a_model_that_is_not_understood_is_not_folded(
    use: Callable[[Small, Tensor], Tensor],
) -> None:
    assert fold(Small(use).eval(), images_of(3, 8)) is None


def both(model: Small, images: Tensor) -> Tensor:
    hidden: Tensor = model.other(model.second(model.norm(model.first(images))))
    return hidden


def test_convolutions_that_share_weights_are_not_folded() -> None:
    """Fresh norms hide it: the copy of a model of other weights would be wrong."""
    model = Small(both).eval()
    model.first = nn.Conv2d(4, 4, 3)
    model.second.weight = model.first.weight
    assert fold(model, images_of(4, 8)) is None


def test_constants_of_the_code_are_no_obstacle() -> None:
    model = Small(lambda m, x: m.norm(m.first(x - torch.tensor(0.5)))).eval()
    images = images_of(3, 8)
    copied = fold(model, images)
    assert copied is not None
    assert distance(copied.module(images), model(images)) < 1e-5


def test_a_head_of_zeros_does_not_hide_what_is_wrong() -> None:
    def use(model: Small, images: Tensor) -> Tensor:
        return counts_its_calls(model, images) * model.other.weight[None, :, None, None]

    model = Small(use).eval()
    nn.init.zeros_(model.other.weight)
    assert fold(model, images_of(3, 8)) is None


def test_which_tensors_a_copy_follows() -> None:
    model = build_model("resnet-mini", 1, 10, 0)
    copied = folded_copy(model)
    assert copied.is_of(model)
    with torch.no_grad():
        model.get_parameter("linear.weight").mul_(2)
    assert copied.is_of(model)
    model.get_submodule("linear").weight = nn.Parameter(torch.zeros(10, 32))
    assert not copied.is_of(model)
    assert not copied.is_of(build_model("resnet-mini", 1, 10, 0))
