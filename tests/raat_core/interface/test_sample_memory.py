"""A memory of samples: read in a step, changed when it is done, resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from conftest import small_cell
from outcomes import assert_equal_outcome, run_with_stops, train
from raat_core.data.dataset import DataSet
from raat_core.fast.switches import FastPaths
from raat_core.interface import CellFacts, Method, MethodSettings, SampleMemory, Step, register
from raat_core.training.trainee import Trainee


class RememberingSettings(MethodSettings):
    name: Literal["remembering"] = "remembering"


@register
class Remembering(Method):
    """Attacks each sample in a radius that grows where its loss was small."""

    Settings = RememberingSettings

    def __init__(self, settings: MethodSettings, cell: CellFacts) -> None:
        super().__init__(settings, cell)
        self.radii = SampleMemory(cell, initial=0.5)

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,), labels = step.views, step.labels
        radii = self.radii.at(step)
        adversarial = step.attack(images, labels, radius=radii)
        losses = step.cross_entropy(step.forward(adversarial), labels)
        self.radii.note(step, (radii + 0.1 * (losses.detach() < 2.2)).clamp(max=1))
        return {"supervised": losses.mean()}

    def after_step(self, step: Step) -> None:
        self.radii.keep(step)

    def state(self) -> dict[str, Tensor]:
        return self.radii.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.radii.load_state(state)


def test_a_memory_is_changed_when_the_step_is_done(small_data: DataSet) -> None:
    trainee = Trainee.build(small_cell(method="remembering"), torch.device("cpu"), FastPaths())
    method = trainee.method
    assert isinstance(method, Remembering)
    assert method.state() == {}
    step = trainee.draw(small_data.train, torch.tensor([5, 3]), 0, 0)
    assert method.radii.at(step).tolist() == [0.5, 0.5]
    method.radii.note(step, torch.tensor([1.0, 2.0], requires_grad=True))
    assert method.radii.at(step).tolist() == [0.5, 0.5]
    method.radii.keep(step)
    method.radii.keep(step)
    assert method.radii.at(step).tolist() == [1.0, 2.0]
    other = trainee.draw(small_data.train, torch.tensor([3, 4]), 0, 1)
    assert method.radii.at(other).tolist() == [2.0, 0.5]
    assert len(method.state()["memory"]) == method.cell.samples
    assert not method.state()["memory"].requires_grad


def test_a_memory_is_resumed_also_under_perturbed_weights(
    tmp_path: Path, small_data: DataSet
) -> None:
    recipe = {"epochs": 3, "batch_size": 32, "decay_epochs": [2], "perturbation": "awp"}
    cell = small_cell(method="remembering", recipe=recipe)
    through = train(cell, tmp_path / "through", small_data)
    stopped, sessions = run_with_stops(cell, tmp_path / "stopped", small_data, every=5)
    assert sessions > 3
    assert_equal_outcome(through, stopped)
