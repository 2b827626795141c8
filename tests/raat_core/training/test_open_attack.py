"""`step.attack` and `step.draws` as authors of methods use them; what is refused, and how."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from conftest import small_cell
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.fast.switches import FastPaths
from raat_core.interface import Iterate, Method, MethodSettings, Step
from raat_core.interface.losses import cross_entropy
from raat_core.interface.registry import METHODS
from raat_core.randomness import NamedDraws
from raat_core.training.step import TrainingStep
from raat_core.training.trainee import Trainee

EPSILON, STEP_SIZE = 0.15, 0.05


def step_of(
    data: DataSet, norm: str = "linf", fast: FastPaths | None = None, steps: int = 4
) -> TrainingStep:
    threat = {"norm": norm, "epsilon": EPSILON, "step_size": STEP_SIZE, "steps": steps}
    trainee = Trainee.build(
        small_cell(threat_model=threat), torch.device("cpu"), fast or FastPaths()
    )
    return trainee.draw(data.train, torch.arange(24), 0, 0)


def distances(norm: str, first: Tensor, second: Tensor) -> Tensor:
    difference = (first - second).flatten(1)
    return difference.abs().amax(1) if norm == "linf" else difference.norm(dim=1)


@pytest.mark.parametrize("fast", [FastPaths(), FastPaths(fold=False)], ids=["fast", "plain"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_function_is_as_good_as_a_name(norm: str, fast: FastPaths, small_data: DataSet) -> None:
    step = step_of(small_data, norm, fast)
    (images,), labels = step.views, step.labels
    named = step.attack(images, labels)
    assert torch.equal(
        named, step.attack(images, labels, objective=lambda z: cross_entropy(z, labels))
    )
    one_hot = functional.one_hot(labels, 10).float()
    torch.testing.assert_close(named, step.attack(images, one_hot))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_radius_for_every_sample(norm: str, small_data: DataSet) -> None:
    """Each stays in a ball of its own; a sample of radius zero stays where it is."""
    step = step_of(small_data, norm)
    (images,), labels = step.views, step.labels
    radii = torch.linspace(0, 2, len(images))
    moved = distances(norm, step.attack(images, labels, radius=radii), images)
    assert bool((moved <= radii * EPSILON * (1 + 1e-5) + 1e-6).all())
    assert bool((moved[radii > 0.5] > 0.5 * EPSILON * radii[radii > 0.5]).all())
    ones = step.attack(images, labels, radius=torch.ones(len(images)), start="clean")
    torch.testing.assert_close(ones, step.attack(images, labels, start="clean"))


def test_one_step_is_fgsm(small_data: DataSet) -> None:
    step = step_of(small_data)
    (images,), labels = step.views, step.labels
    found = step.attack(images, labels, steps=1, step_size=EPSILON, start="clean")
    leaf = images.clone().requires_grad_()
    step.model.eval()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(step.model(leaf), labels), leaf)
    step.model.train()
    expected = (images + EPSILON * gradient.sign()).clamp(0, 1)
    assert float(((found - expected).abs() > 1e-5).double().mean()) < 0.005


def test_a_start_of_ones_own_is_projected_unless_the_ball_is_left(small_data: DataSet) -> None:
    """As N-FGSM: noise of twice the radius, and no projection."""
    step = step_of(small_data)
    (images,), labels = step.views, step.labels
    noisy = images + step.draws("noise").uniform(*images.shape, low=-2 * EPSILON, high=2 * EPSILON)
    within = step.attack(images, labels, start=noisy)
    assert distances("linf", within, images).max() <= EPSILON + 1e-6
    beyond = step.attack(images, labels, start=noisy, steps=1, step_size=EPSILON, in_ball=False)
    assert distances("linf", beyond, images).max() > 1.5 * EPSILON
    assert beyond.min() >= 0
    assert beyond.max() <= 1


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_iterates_are_shown_and_counted(batchnorm: str, small_data: DataSet) -> None:
    """As GAIRAT does: the start among them, the result not."""
    recipe = {"epochs": 2, "batch_size": 32, "decay_epochs": [1], "attack_batchnorm": batchnorm}
    trainee = Trainee.build(small_cell(recipe=recipe), torch.device("cpu"), FastPaths())
    step = trainee.draw(small_data.train, torch.arange(24), 0, 0)
    (images,), labels = step.views, step.labels
    seen: list[Iterate] = []
    with_callback = step.attack(images, labels, steps=3, on_iterate=seen.append)
    assert [iterate.number for iterate in seen] == [0, 1, 2]
    assert all(iterate.logits.shape == (24, 10) for iterate in seen)
    assert not any(iterate.logits.requires_grad for iterate in seen)
    torch.testing.assert_close(with_callback, step.attack(images, labels, steps=3))
    assert torch.equal(seen[2].images, step.attack(images, labels, steps=2))


@settings(max_examples=15, deadline=None)
@given(data=st.data(), stops=st.lists(st.integers(0, 5), min_size=24, max_size=24))
def test_samples_stop_where_they_are(data: Any, stops: list[int], small_data: DataSet) -> None:
    """As FAT does: each sample after a number of steps of its own."""
    step = step_of(small_data, steps=4)
    (images,), labels = step.views, step.labels
    last = torch.tensor(stops)
    found = step.attack(images, labels, on_iterate=lambda iterate: last <= iterate.number)
    for count in range(6):
        expected = step.attack(images, labels, steps=min(count, 4))
        torch.testing.assert_close(found[last == count], expected[last == count])


def test_another_model_is_attacked(small_data: DataSet) -> None:
    step = step_of(small_data)
    (images,), labels = step.views, step.labels
    other = Trainee.build(small_cell(seed=5), torch.device("cpu"), FastPaths()).model
    trained = step.attack(images, labels)
    assert not torch.equal(step.attack(images, labels, model=other), trained)
    assert torch.equal(step.attack(images, labels, model=step.model), trained)


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"objective": "cross_entropy"}, ["objective = 'cross_entropy'", "did you mean", "margin"]),
    ({"start": "normal"}, ["start = 'normal'", "uniform, gaussian, clean"]),
    ({"objective": lambda logits: logits.sum()}, ["value per sample", "(24,)", "not ()"]),
    ({"objective": lambda logits: 1.0}, ["value per sample", "float"]),
    ({"on_iterate": lambda iterate: iterate.logits}, ["on_iterate", "bool", "(24,)"]),
]


@pytest.mark.parametrize(("options", "parts"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_an_attack_does_not_know(
    options: dict[str, Any], parts: list[str], small_data: DataSet
) -> None:
    step = step_of(small_data)
    with pytest.raises(UserError) as refused:
        step.attack(step.views[0], step.labels, **options)
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize("mode", ["evaluation", "Train", ""])
def test_an_unknown_mode(mode: Any, small_data: DataSet) -> None:
    step = step_of(small_data)
    with pytest.raises(UserError, match=r"step.forward: batchnorm = .* allowed: eval, train"):
        step.forward(step.views[0], mode)
    with pytest.raises(UserError, match=r"step.logits: batchnorm = .* allowed: eval, train, batch"):
        step.logits(step.views[0], mode)


def test_draws_are_a_function_of_seed_step_and_name() -> None:
    def drawn(*purpose: str | int) -> list[Tensor]:
        draws = NamedDraws("cpu", 0, *purpose)
        return [
            draws.uniform(3, 2, low=-1, high=2),
            draws.gaussian(4),
            draws.permutation(7),
            draws.integers(5, below=3),
            draws.beta(0.5, 6),
            draws.beta(0.5, 6),
        ]

    first, again, other = drawn("a", 0, 1), drawn("a", 0, 1), drawn("b", 0, 1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first[:2], other[:2], strict=True))
    assert not torch.equal(first[4], first[5])  # A second call goes on.
    assert sorted(first[2].tolist()) == list(range(7))
    assert first[4].dtype == torch.float32


class ReturningSettings(MethodSettings):
    name: Literal["returning"] = "returning"


RETURNS: dict[str, Any] = {
    "tensor": lambda loss: loss,
    "empty": lambda loss: {},
    "float": lambda loss: 0.5,
    "none": lambda loss: None,
    "float term": lambda loss: {"supervised": 0.5},
    "per sample": lambda loss: {"supervised": loss.expand(7)},
    "integer": lambda loss: {"supervised": torch.tensor(3)},
    "number as name": lambda loss: {1: loss},
    "without gradient": lambda loss: {"supervised": loss.detach()},
}


@pytest.mark.parametrize("kind", RETURNS)
def test_a_loss_that_is_none_is_refused_in_its_first_step(kind: str, small_data: DataSet) -> None:
    """In one line that names the method, what came, and what is expected."""

    class Returning(Method):
        Settings = ReturningSettings

        def loss(self, step: Step) -> dict[str, Tensor]:
            found: dict[str, Tensor] = RETURNS[kind](step.forward(step.views[0]).mean())
            return found

    METHODS.add("returning", Returning, __name__)
    trainee = Trainee.build(small_cell(method="returning"), torch.device("cpu"), FastPaths())
    with pytest.raises(UserError) as refused:
        trainee.update(trainee.draw(small_data.train, torch.arange(8), 0, 0))
    (line,) = str(refused.value).splitlines()
    assert line.startswith("method 'returning': loss must return its terms by name")


def test_a_plugin_with_hooks_of_before_is_told_so() -> None:
    class Old(Method):
        Settings = ReturningSettings

        def __init__(self, settings: MethodSettings) -> None:
            self.settings = settings

        def loss(self, step: Step) -> dict[str, Tensor]:
            return {}

    from raat_core.interface import register

    with pytest.raises(UserError, match=r"Old\.__init__: must take \(self, settings, cell\)"):
        register(Old)
