"""The minimum-norm attack: known distances, a transcription for one image, what it says."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raat_core.attacks.fmn import Fmn
from raat_core.cells.evaluations import evaluation_name
from raat_core.evaluation.batch import Samples, attack_batch
from raat_core.evaluation.records import Record
from raat_core.interface.registry import build_attack, resolve_attack
from raat_core.models.build import build_model
from raat_core.specs.threat_model import Norm

BALL: dict[str, Any] = {"norm": "linf", "epsilon": Fraction(1, 10)}


class Linear(nn.Module):
    """Logits (0, w·x + b) of images."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


def curved() -> nn.Module:
    """A small network with other than linear boundaries, in float64."""
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4))
    return layers.double().requires_grad_(False).eval()


def some_images(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_model_the_distance_is_that_to_the_plane(norm: Norm) -> None:
    weight = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = 0.3 + 0.4 * torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    model = Linear(weight, -float((images * weight).flatten(1).sum(1).mean()))
    margins = model(images)[:, 1]
    found = Fmn(norm).run(model, images, (margins > 0).long())
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    assert (found.distance / (margins.abs() / dual) - 1).abs().max() < 0.01
    assert torch.equal(model(found.images).argmax(1), found.classes)
    assert (found.classes != (margins > 0)).all()


def one_by_one(
    model: nn.Module, image: Tensor, label: int, norm: Norm, steps: int
) -> tuple[float, np.ndarray[Any, Any]]:
    """Algorithm 1 of the paper, with a radius that always grows before it finds anything."""
    x = image.numpy()
    order = np.inf if norm == "linf" else 2
    dual = 1 if norm == "linf" else 2

    def length(v: np.ndarray[Any, Any], p: float = order) -> float:
        return float(np.linalg.norm(v.ravel(), ord=p))

    delta, best, best_length, seen = np.zeros_like(x), np.zeros_like(x), math.inf, False
    farthest = length(np.maximum(x, 1 - x))
    epsilon = math.inf
    for k in range(steps):
        point = torch.from_numpy(x + delta)[None].requires_grad_()
        logits = model(point)[0]
        others = [logit for i, logit in enumerate(logits) if i != label]
        loss = logits[label] - torch.stack(others).max()
        (gradient,) = torch.autograd.grad(loss, point)
        g = gradient[0].numpy()
        cosine = (1 + math.cos(math.pi * k / steps)) / 2
        gamma = 0.001 + (0.05 - 0.001) * cosine
        alpha = 0.01 + (1.0 - 0.01) * cosine
        if int(logits.argmax()) != label:
            seen = True
            if length(delta) <= min(best_length, farthest):
                best, best_length = delta, length(delta)
            epsilon = min(epsilon * (1 - gamma), best_length) if k else 0.0
        elif seen:
            epsilon = epsilon * (1 + gamma)
        else:
            boundary = length(delta) + abs(loss.item()) / length(g, dual)
            epsilon = max(boundary, 0.0 if k == 0 else epsilon * (1 + gamma))
        epsilon = min(epsilon, farthest)
        delta = delta - alpha * g / length(g, 2)
        if norm == "linf":
            delta = np.clip(delta, -epsilon, epsilon)
        elif length(delta) > epsilon:
            delta = delta * epsilon / length(delta)
        delta = np.clip(x + delta, 0, 1) - x
    return best_length, x + best


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_the_algorithm_of_the_paper(norm: Norm) -> None:
    model, images = curved(), some_images(12, 5)
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % 4
    found = Fmn(norm, steps=30).run(model, images, labels)
    for number, image in enumerate(images):
        distance, nearest = one_by_one(model, image, int(labels[number]), norm, 30)
        assert found.distance[number].item() == pytest.approx(distance, rel=1e-9, abs=1e-12)
        if math.isfinite(distance):
            assert np.allclose(found.images[number].numpy(), nearest, rtol=0, atol=1e-5)
    assert found.distance.isfinite().sum() >= 8


def test_zero_for_what_is_wrong_when_clean_and_infinite_for_what_never_is() -> None:
    images = torch.full((2, 1, 2, 2), 0.5)
    always_one = Linear(torch.zeros(1, 1, 2, 2), 1.0)
    found = Fmn("l2", steps=5).run(always_one, images, torch.tensor([0, 1]))
    assert found.distance.tolist() == [0.0, math.inf]
    assert found.classes.tolist() == [1, 1]
    assert torch.equal(found.images, images)


def attacked(**settings: Any) -> tuple[Any, Tensor]:
    model = build_model("resnet-mini", 1, 10, seed=0).eval().requires_grad_(False)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[:3] = (labels[:3] + 1) % 10
    attack = resolve_attack({"kind": "fmn", **BALL, "steps": 20, **settings})
    return attack_batch(model, attack, Samples(images, labels, torch.arange(16), 0)), labels


def test_the_accuracy_is_of_what_has_no_error_within_epsilon() -> None:
    distance = attacked()[0].details["distance"]
    middle = distance[distance > 0].median().item()
    outcome, labels = attacked(epsilon=str(round(middle, 4)))
    stands = outcome.details["distance"] > round(middle, 4)
    assert torch.equal(outcome.predictions == labels, stands)
    assert 0 < stands.sum() < 13
    assert outcome.details["distance"].dtype == torch.float32
    assert outcome.details["distance"][:3].tolist() == [0, 0, 0]


def test_what_is_never_misclassified_raises_a_flag() -> None:
    settings = resolve_attack({"kind": "fmn", **BALL})
    nothing = np.zeros(100, dtype=np.int32)

    def flags(infinite: int) -> list[str]:
        distance = np.where(np.arange(100) < infinite, np.inf, 0.2).astype(np.float32)
        record = Record(nothing, nothing, nothing, {}, nothing, {"distance": distance})
        return build_attack(settings).flags(record)

    assert flags(0) == flags(2) == []
    assert "40 of 100 images" in flags(40)[0]


def test_its_record_is_named_by_its_steps() -> None:
    settings = resolve_attack({"kind": "fmn", **BALL})
    assert evaluation_name(settings, "best").startswith("best_fmn-100_")
    assert settings.accuracy_is == "of images whose distance is above epsilon = 0.1"
