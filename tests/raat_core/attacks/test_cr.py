"""Constraint relaxation: a transcription for one image, images by themselves, strength, costs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import small_cell
from raat_core import api
from raat_core.attacks.cr import ConstraintRelaxation
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.interface.attack import AttackBatch
from raat_core.interface.draws import Draws
from raat_core.interface.registry import build_attack, resolve_attack
from raat_core.randomness import NamedDraws

EPSILON = 0.3


def curved(classes: int = 5) -> nn.Module:
    """A small network in float64."""
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, classes))
    return layers.double().requires_grad_(False).eval()


def draws(name: str) -> Draws:
    return NamedDraws("cpu", 0, name)


def some_images(model: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(5)).double()
    return images, model(images).argmax(1)


class OneByOne:
    """The authors' attack on one image of a batch: no sets of images, one thing at a time."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, number: int) -> None:
        self.model, self.shape, self.number = model, images.shape, number
        self.x, self.y = images[number], int(labels[number])

    def noise(self, name: str) -> Tensor:
        return draws(name).uniform(*self.shape, low=-EPSILON, high=EPSILON)[self.number].double()

    def logits(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image[None])[0]
        return logits

    def lead(self, image: Tensor, target: int | None = None) -> float:
        z = self.logits(image)
        other = z[target] if target is not None else max(z[k] for k in range(5) if k != self.y)
        return float(z[self.y] - other)

    def clip(self, image: Tensor, epsilon: float) -> Tensor:
        return (self.x + (image - self.x).clamp(-epsilon, epsilon)).clamp(0, 1)

    def gradient(self, image: Tensor, target: int | None = None) -> Tensor:
        image = image.clone().requires_grad_()
        z = self.logits(image)
        if target is None:
            value = functional.cross_entropy(z[None], torch.tensor([self.y]))
        else:
            value = z[target] - z[self.y]
        (found,) = torch.autograd.grad(value, image)
        return found

    def run(self) -> bool:
        """Whether it is broken."""
        image = self.clip(self.x + self.noise("pgd"), EPSILON)
        if self.lead(image) > 0:
            for step in range(10):
                if self.lead(image) < 0:
                    break
                scale = 0.25 if step == 5 else 0.5
                image = self.clip(image + scale * EPSILON * self.gradient(image).sign(), EPSILON)
        if self.lead(image) < 0:
            return True
        z = self.logits(image)
        targets = sorted((k for k in range(5) if k != self.y), key=lambda k: -float(z[k]))[:3]
        allowed = [True] * 3
        for restart in range(5):
            near = [False] * 3
            for t, target in enumerate(targets):
                if allowed[t]:
                    broken, near[t] = self.towards(target, f"{restart}/{t}")
                    if broken:
                        return True
            allowed = near
        return False

    def towards(self, target: int, name: str) -> tuple[bool, bool]:
        scale, near = 1.0, False
        image = (self.x + self.noise(f"start {name}")).clamp(0, 1)
        for i in range(150):
            place = i % 30
            if place == 0:
                scale = max(scale * 0.5, 0.05)
            radius = EPSILON * (1 + scale) if place < 10 else EPSILON
            if place == 20:
                image = self.clip(image, EPSILON * (1 - scale))
                image = (image + scale * self.noise(f"noise {name}/{i}")).clamp(0, 1)
            step = scale * EPSILON * self.gradient(image, target).sign()
            if place > 10:
                lead = self.lead(image, target)
                near = near or lead < 0.05
                if lead < 0:
                    return True, near
                if place == 19 and lead > scale:
                    return False, near
            image = self.clip(image + step, radius)
            if place <= 10:
                lead = self.lead(self.clip(image, EPSILON))
                near = near or lead < 0.05
                if lead < 0:
                    return True, near
        return False, near


def test_it_is_the_attack_of_the_benchmark() -> None:
    model = curved()
    images, labels = some_images(model, 24)
    labels[0] = (labels[0] + 1) % 5
    found = ConstraintRelaxation(EPSILON).run(model, images, labels, draws)
    broken = [OneByOne(model, images, labels, number).run() for number in range(24)]
    assert (found.classes != labels).tolist() == broken
    assert 5 < sum(broken) < 20
    assert torch.equal(model(found.images).argmax(1), found.classes)
    assert (found.images - images).abs().max() <= EPSILON + 1e-6


def test_an_image_is_attacked_as_if_by_itself() -> None:
    model = curved()
    images, labels = some_images(model, 12)
    every = ConstraintRelaxation(EPSILON).run(model, images, labels, draws)
    others = images.clone()
    others[:6] = 0.5
    again = ConstraintRelaxation(EPSILON).run(model, others, labels, draws)
    assert torch.equal(again.classes[6:], every.classes[6:])
    assert torch.allclose(again.images[6:], every.images[6:], atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_all_attacked_towards(classes: int) -> None:
    model = curved(classes)
    images, labels = some_images(model, 8)
    settings = resolve_attack(
        {"kind": "cr", "norm": "linf", "epsilon": Fraction(1, 2), "iterations": 30, "rounds": 2}
    )
    batch = AttackBatch(images, labels, torch.arange(8), 0, draws)
    found: Any = build_attack(settings).run(model, batch)
    assert set(found.work) == {"pgd", "relaxed"}
    assert found.work["pgd"].forwards >= 8
    assert (found.classes != labels).any()


def test_it_is_refused_in_l2() -> None:
    settings = resolve_attack({"kind": "cr", "norm": "l2", "epsilon": "0.5"})
    with pytest.raises(ValueError, match="norm = 'l2': must be linf"):
        settings.check(10, (1, 8, 8))


def test_it_chooses_the_best_checkpoint(tmp_path: Path, small_data: DataSet) -> None:
    by = {"kind": "cr", "norm": "linf", "epsilon": "0.15", "iterations": 30, "samples": 20}
    cell = small_cell(selection={"by": by})
    folder = CellFolder(api.train(cell, tmp_path / "cell", device="cpu", data=small_data))
    best = read_manifest(folder)["best"]
    assert best["chosen_by"].startswith("cr")
    assert best["accuracy"] % 5 == 0
    with pytest.raises(UserError, match="norm = 'l2': must be linf"):
        small_cell(selection={"by": {**by, "norm": "l2"}})
