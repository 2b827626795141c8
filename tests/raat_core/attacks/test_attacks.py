"""PGD in both balls: its bounds, its optimum where it is known, its strength."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from raat_core.attacks.pgd import Pgd
from raat_core.interface.l2 import L2Details
from raat_core.interface.step import AttackObjective, Start
from raat_core.models.build import build_model
from raat_core.specs.threat_model import Norm

ROUNDING = 1e-6


class Linear(nn.Module):
    """Logits (0, w·x + b): the margin of class 1 is linear in the image."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(norm: Norm, first: Tensor, second: Tensor) -> Tensor:
    difference = (first - second).flatten(1)
    return difference.abs().amax(1) if norm == "linf" else difference.norm(dim=1)


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    epsilon=st.floats(1e-3, 1.0),
    relative_step=st.floats(0.05, 2.0),
    steps=st.integers(1, 4),
    objective=st.sampled_from(["cross-entropy", "kl", "margin"]),
    start=st.sampled_from(["uniform", "gaussian"]),
    l2=st.builds(
        L2Details,
        start=st.sampled_from([None, "pixel-box", "uniform-radius"]),
        gradient=st.sampled_from(["normalised", "advertorch", "mart", "trades", "rebat"]),
        projection=st.sampled_from(["after-clipping", "before-clipping"]),
    ),
    seed=st.integers(0, 1000),
)
def test_never_outside_the_ball_or_the_pixel_range(
    norm: Norm,
    epsilon: float,
    relative_step: float,
    steps: int,
    objective: AttackObjective,
    start: Start,
    l2: L2Details,
    seed: int,
) -> None:
    model = build_model("resnet-mini", 3, 5, seed=0).eval()
    images = torch.rand(4, 3, 8, 8, generator=seeded(seed))
    images[0], images[1] = 0.0, 1.0
    labels = torch.randint(5, (4,), generator=seeded(seed))
    pgd = Pgd(norm, epsilon, relative_step * epsilon, steps, objective, start, l2=l2)
    adversarial = pgd.run(model, images, labels, seeded(seed))
    assert adversarial.shape == images.shape
    assert not adversarial.requires_grad
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert distance(norm, adversarial, images).max() <= epsilon * (1 + 1e-4) + ROUNDING


@pytest.mark.parametrize("objective", ["cross-entropy", "margin"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_model_is_attacked_to_the_closed_form_optimum(
    norm: Norm, objective: AttackObjective
) -> None:
    weight = torch.randn(1, 1, 6, 6, generator=seeded(0), dtype=torch.float64)
    images = 0.5 + 0.1 * torch.rand(5, 1, 6, 6, generator=seeded(1), dtype=torch.float64)
    model, labels, epsilon = Linear(weight, 0.3), torch.ones(5, dtype=torch.long), 0.1
    adversarial = Pgd(norm, epsilon, epsilon / 4, 200, objective).run(
        model, images, labels, seeded(2)
    )
    # The ball lies inside [0, 1] here: the score falls by epsilon times the dual norm.
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    fall = model(images)[:, 1] - model(adversarial)[:, 1]
    assert torch.allclose(fall, epsilon * dual.expand(5), rtol=1e-6)


def test_a_linear_model_is_attacked_to_the_clipped_optimum() -> None:
    """Where pixels hit 0 or 1, the l-infinity optimum moves the others all the way."""
    weight = torch.randn(1, 1, 6, 6, generator=seeded(3), dtype=torch.float64)
    images = torch.rand(5, 1, 6, 6, generator=seeded(4), dtype=torch.float64)
    model, labels = Linear(weight, 0.0), torch.ones(5, dtype=torch.long)
    adversarial = Pgd("linf", 0.3, 0.1, 100).run(model, images, labels, seeded(5))
    assert torch.allclose(adversarial, (images - 0.3 * weight.sign()).clamp(0, 1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_steps_do_not_help_the_model(norm: Norm) -> None:
    model = build_model("resnet-mini", 1, 10, seed=1).eval()
    images = torch.rand(64, 1, 8, 8, generator=seeded(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    epsilon = {"linf": 0.03, "l2": 0.3}[norm]

    def loss_after(steps: int) -> float:
        adversarial = Pgd(norm, epsilon, epsilon / 4, steps).run(model, images, labels, seeded(1))
        return nn.functional.cross_entropy(model(adversarial), labels).item()

    losses = [loss_after(steps) for steps in (1, 5, 20, 80)]
    assert all(later > earlier - 1e-3 for earlier, later in itertools.pairwise(losses))
    assert losses[-1] > losses[0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_uniform_start_fills_the_ball(norm: Norm) -> None:
    images = torch.full((4000, 1, 1, 2), 0.5)
    pgd = Pgd(norm, 0.1, 1e-12, 1)
    model = Linear(torch.ones(1, 1, 1, 2), 0.0)
    start = pgd.run(model, images, torch.ones(4000, dtype=torch.long), seeded(0))
    radii = distance(norm, start, images) / 0.1
    assert radii.max() <= 1 + 1e-4
    # Uniform in a two-dimensional ball: P(radius <= r) = r^2.
    for radius in (0.3, 0.5, 0.8):
        share = (radii <= radius).double().mean().item()
        assert share == pytest.approx(radius**2, abs=0.03)


def test_the_start_does_not_depend_on_the_memory_format() -> None:
    model = build_model("resnet-mini", 3, 5, seed=0).eval()
    images, labels = torch.rand(4, 3, 8, 8), torch.arange(4)
    pgd = Pgd("linf", 0.1, 1e-12, 1)
    plain = pgd.run(model, images, labels, seeded(0))
    last = pgd.run(model, images.contiguous(memory_format=torch.channels_last), labels, seeded(0))
    assert torch.allclose(plain, last, atol=1e-6)


def test_no_parameter_receives_a_gradient() -> None:
    model = build_model("resnet-mini", 1, 10, seed=0).eval()
    Pgd("linf", 0.1, 0.05, 2).run(model, torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), seeded(0))
    assert all(parameter.grad is None for parameter in model.parameters())
