"""The released code's attacks in l2 balls, transcribed: one sample after the other, in float64.

What `variant: released` asks of an attack, against PGD as advertorch, MART, TRADES and ReBAT have
it. Among the samples are confident ones, whose gradients are below the constants that gradients are
divided by.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import small_cell
from raat_core.attacks.pgd import Live, Pgd
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import FastPaths
from raat_core.interface.l2 import L2Details
from raat_core.interface.registry import BUILT_IN_METHODS, build_method, resolve_settings
from raat_core.models.build import build_model_for
from raat_core.training.step import TrainingStep

EPSILON, STEP, STEPS = 0.5, 0.125, 10
SAMPLES, CLASSES, SHAPE = 24, 4, (1, 4, 4)
ADVERTORCH = ("pgd-at", "cons-at", "raat")
MART = ("mart", "raat++")
REBAT = ("wa", "rebat", "raat#")
METHODS = (*ADVERTORCH, "trades", *MART, *REBAT)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Smooth, and certain of some images and not of others."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, CLASSES)
        ).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=1.5)
        nn.init.normal_(model.get_parameter("3.weight"), std=6.0)
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Some of their pixels are 0 or 1, so that clipping and projecting are not the same in turn."""
    drawn = torch.rand((SAMPLES, *SHAPE), generator=seeded(1), dtype=torch.float64)
    return (1.6 * drawn - 0.3).clamp(0, 1)


@pytest.fixture(scope="module")
def labels(model: nn.Module, images: Tensor) -> Tensor:
    """What the model says, but of every sixth image."""
    with torch.no_grad():
        predicted = model(images).argmax(1)
    wrong = torch.arange(SAMPLES) % 6 == 0
    known: Tensor = (predicted + wrong) % CLASSES
    return known


# ------------------------------------------------------------------------------- transcription


def norm(tensor: Tensor) -> float:
    return math.sqrt(sum(value * value for value in tensor.flatten().tolist()))


def loss_of(model: nn.Module, image: Tensor, clean: Tensor, label: int, kind: str) -> Tensor:
    # In log space: a confident sample's gradient is what is left of 1 - p.
    log_p = model(image[None])[0].log_softmax(0)
    if kind == "cross-entropy":
        loss: Tensor = -log_p[label]
        return loss
    log_q = model(clean[None])[0].log_softmax(0).detach()
    return torch.stack([b.exp() * (b - a) for a, b in zip(log_p, log_q, strict=True)]).sum()


def gradient_of(loss: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    image = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(image), image)
    return gradient


def advertorch_step(image: Tensor, at: Tensor, g: Tensor, epsilon: float, step: float) -> Tensor:
    """The perturbation moves by the gradient over max(||g||, 1e-6), is clipped, then shrunk."""
    delta = at - image + step * g / max(norm(g), 1e-6)
    delta = (image + delta).clamp(0, 1) - image
    delta = delta * min(epsilon / norm(delta), 1.0)
    return (image + delta).clamp(0, 1)


def renormed_step(
    offset: float, image: Tensor, at: Tensor, g: Tensor, epsilon: float, step: float
) -> Tensor:
    """The gradient over ||g|| + offset, torch's renorm of the perturbation, clipped at last."""
    delta = at + step * g / (norm(g) + offset) - image
    length = norm(delta)
    if length > epsilon:
        delta = delta * (epsilon / (length + 1e-7))
    return (image + delta).clamp(0, 1)


@dataclass(frozen=True)
class Authors:
    """An attack of the released code."""

    step: Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
    loss: str = "cross-entropy"
    mean: bool = True
    """Whether the loss is the batch's mean, so that gradients are a batch size smaller."""

    def attack(
        self, model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, radius: float = 1.0
    ) -> Tensor:
        found = []
        for image, label, at in zip(images, labels.tolist(), start, strict=True):
            for _ in range(STEPS):

                def loss(moved: Tensor, image: Tensor = image, label: int = label) -> Tensor:
                    value = loss_of(model, moved, image, label, self.loss)
                    return value / len(images) if self.mean else value

                g = gradient_of(loss, at)
                at = self.step(image, at, g, radius * EPSILON, radius * STEP)
            found.append(at)
        return torch.stack(found)


def with_offset(offset: float) -> Callable[[Tensor, Tensor, Tensor, float, float], Tensor]:
    return lambda *arguments: renormed_step(offset, *arguments)


AUTHORS = {
    **dict.fromkeys(ADVERTORCH, Authors(advertorch_step)),
    "trades": Authors(with_offset(1e-8), "kl", mean=False),
    **dict.fromkeys(MART, Authors(with_offset(1e-8))),
    **dict.fromkeys(REBAT, Authors(with_offset(1e-10))),
}


# --------------------------------------------------------------------------------------- steps


def released(name: str, **changes: Any) -> Pgd:
    """The attack of a method's released variant, or with some settings switched."""
    settings: Any = resolve_settings({"name": name, "variant": "released", **changes})
    return Pgd(
        "l2", EPSILON, STEP, STEPS, AUTHORS[name].loss, # type: ignore[arg-type]
        getattr(settings, "attack_start", "uniform"), l2=settings.l2,
    )  # fmt: skip


def distances(first: Tensor, second: Tensor) -> Tensor:
    norms: Tensor = (first - second).flatten(1).norm(dim=1)
    return norms


def confident(model: nn.Module, images: Tensor, labels: Tensor, start: Tensor) -> Tensor:
    """(B,) bool: whose gradients of the mean loss are below all of the constants, at the start."""
    norms = [
        norm(gradient_of(lambda at, y=y: loss_of(model, at, at, y, "cross-entropy"), image))  # type: ignore[misc]
        for image, y in zip(start, labels.tolist(), strict=True)
    ]
    return torch.tensor(norms) / len(images) < 1e-10


@pytest.mark.parametrize("name", METHODS)
def test_the_released_attack_of_every_method(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    pgd = released(name)
    start = pgd.perturb(images, seeded(2))
    ours = pgd.ascend(model, images, labels, start)
    theirs = AUTHORS[name].attack(model, images, labels, start)
    assert distances(ours, theirs).max() < 1e-9
    few = confident(model, images, labels, start)
    assert 3 <= few.sum() <= SAMPLES - 12
    if name != "trades":  # At the start its objective is another one.
        moved = distances(ours, start.clamp(0, 1))
        assert moved[few].max() < 0.5 * STEP * STEPS
        plain = replace(pgd, l2=replace(pgd.l2, gradient="normalised"))
        off = distances(plain.ascend(model, images, labels, start), theirs)
        assert off[few].max() > 0.2 * EPSILON


@pytest.mark.parametrize("name", METHODS)
def test_radii_of_single_samples_scale_the_released_attack(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    pgd, live = released(name), Live(radii=torch.full((SAMPLES,), 0.4, dtype=torch.float64))
    start = pgd.perturb(images, seeded(2), live)
    ours = pgd.ascend(model, images, labels, start, live)
    theirs = AUTHORS[name].attack(model, images, labels, start, radius=0.4)
    assert distances(ours, theirs).max() < 1e-9


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("setting", "paper"), [("l2_gradient", "normalised"), ("l2_projection", "after-clipping")]
)
def test_each_departure_is_seen_alone(
    name: str, setting: str, paper: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    whole = released(name)
    if setting == "l2_projection" and name in ADVERTORCH:
        assert whole.l2.projection == paper
        return
    alone = released(name, **{setting: paper})
    start = whole.perturb(images, seeded(2))
    found = [pgd.ascend(model, images, labels, start) for pgd in (whole, alone)]
    assert distances(*found).max() > 1e-3


def test_a_mean_makes_the_batch_size_matter(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    for name, matters in (("pgd-at", True), ("mart", True), ("trades", False)):
        pgd = released(name)
        start = pgd.perturb(images, seeded(2))
        whole = pgd.ascend(model, images, labels, start)
        halves = [
            pgd.ascend(model, images[half], labels[half], start[half])
            for half in (slice(12), slice(12, None))
        ]
        assert bool(distances(whole, torch.cat(halves)).max() > 1e-3) == matters


def test_a_gradient_of_zero_moves_nothing(images: Tensor, labels: Tensor) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)).double()
    for parameter in flat.parameters():
        nn.init.zeros_(parameter)
    for name in METHODS:
        pgd = released(name)
        start = pgd.perturb(images, seeded(2)).clamp(0, 1)
        assert distances(pgd.ascend(flat, images, labels, start), start).max() < 1e-6


# -------------------------------------------------------------------------------------- starts


def test_the_pixel_box_shrunk_to_the_ball(images: Tensor) -> None:
    pgd = released("pgd-at")
    pixels = torch.empty(images.shape, dtype=torch.float64).uniform_(0, 1, generator=seeded(5))
    start = pgd.perturb(images, seeded(5))
    for image, drawn, found in zip(images, pixels, start, strict=True):
        delta = drawn - image
        torch.testing.assert_close(found, image + delta * min(1.0, EPSILON / norm(delta)))
    assert distances(start, images).tolist() == pytest.approx([EPSILON] * SAMPLES)


def test_the_distance_of_raat_sharps_start_is_uniform() -> None:
    """Mean 0.5 epsilon; uniform in a ball of sixteen dimensions it is 0.94 epsilon."""
    many = torch.full((4000, *SHAPE), 0.5, dtype=torch.float64)
    for name, paper in (("raat#", False), ("raat#", True)):
        pgd = released(name, **({"l2_start": "uniform"} if paper else {}))
        radii = distances(replace(pgd, epsilon=0.3).perturb(many, seeded(4)), many) / 0.3
        assert radii.max() <= 1 + 1e-9
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            expected = share ** (16 if paper else 1)
            assert (radii <= share).double().mean().item() == pytest.approx(expected, abs=0.025)


def test_starts_of_the_two_methods_that_have_noise_stay(images: Tensor) -> None:
    for name in ("trades", "mart", "raat++"):
        noise = released(name).perturb(images, seeded(0)) - images
        assert noise.std().item() == pytest.approx(0.001, rel=0.2)


# ------------------------------------------------------------------------ cells, and what is not


def ball(norm: str) -> dict[str, Any]:
    return {"norm": norm, "epsilon": 0.5, "step_size": 0.125, "steps": 2}


def cell_of(name: str, norm: str, **settings: Any) -> Any:
    averages = {"average_from": 1} if name in REBAT else {}
    return small_cell(threat_model=ball(norm), method={"name": name, **averages, **settings})


@pytest.mark.parametrize("name", BUILT_IN_METHODS)
def test_only_released_cells_of_l2_know_of_it(name: str) -> None:
    l2 = {"l2_start", "l2_gradient", "l2_projection"}
    for norm in ("linf", "l2"):
        for variant in ("paper", "released"):
            cell = cell_of(name, norm, variant=variant)
            has = l2 & cell.to_json()["method"].keys()
            expected = (norm, variant) == ("l2", "released") and name != "boundary-study"
            assert bool(has) == expected
            assert type(cell).model_validate(cell.to_json()) == cell
            assert cell.method.variant in (variant, "paper")
            assert not any(key in cell.name for key in l2)


@pytest.mark.parametrize("name", METHODS)
def test_settings_of_l2_do_not_split_cells_of_linf(name: str) -> None:
    plain = cell_of(name, "linf", variant="released")
    switched = cell_of(name, "linf", variant="released", l2_gradient="normalised")
    assert plain == switched
    assert plain.method.variant == switched.method.variant
    apart = [
        cell_of(name, "l2", variant="released", **change)
        for change in ({}, {"l2_gradient": "normalised"})
    ]
    assert apart[0].digest != apart[1].digest
    assert (apart[0].method.variant, "l2_gradient" in apart[0].name) == ("released", False)
    assert apart[1].method.variant in ("mixed", "paper")
    # What is settled in a cell of one ball may be taken to another one.
    moved = apart[0].model_validate({**plain.to_json(), "threat_model": ball("l2")})
    assert moved == cell_of(name, "l2", variant="released", **paper_of_l2(name))


def paper_of_l2(name: str) -> dict[str, object]:
    paper = resolve_settings(name).preset("paper")
    return {key: value for key, value in paper.items() if key.startswith("l2_")}


@pytest.mark.parametrize("name", METHODS)
def test_in_linf_nothing_changes(name: str, small_data: DataSet) -> None:
    """A training step of the released variant, bit for bit, whatever `l2_...` says."""

    def losses(**settings: Any) -> list[float]:
        cell = cell_of(name, "linf", variant="released", **settings)
        method = build_method(cell.method, cell.facts())
        step = TrainingStep.draw(
            cell, build_model_for(cell.architecture, cell.dataset, seed=0).train(),
            FrozenModels(FastPaths()), small_data.train, torch.arange(16),
            views=method.views, epoch=0, number=0,
        )  # fmt: skip
        return [term.item() for term in method.loss(step).values()]

    assert losses() == losses(**paper_of_l2(name))


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (L2Details(start="box"), "l2.start = 'box'"),  # type: ignore[arg-type]
        (L2Details(gradient="renormed"), "l2.gradient = 'renormed'"),  # type: ignore[arg-type]
        (L2Details(projection="before"), "did you mean 'before-clipping'"),  # type: ignore[arg-type]
    ],
)
def test_unknown_words_are_refused(details: L2Details, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Pgd("l2", EPSILON, STEP, STEPS, l2=details)
