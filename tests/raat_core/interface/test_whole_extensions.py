"""Classes that could be registered and not be used, and what else an author gets wrong at first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from conftest import small_cell
from raat_core import api
from raat_core.cost.flop import Accuracies, evaluation_passes, training_flop
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.fast.switches import FastPaths
from raat_core.interface import (
    Attack,
    AttackSettings,
    Method,
    MethodSettings,
    Passes,
    Step,
    register,
)
from raat_core.interface.registry import build_method, resolve_attack
from raat_core.training.checks import require_logits
from raat_core.training.trainee import Trainee


class WholeSettings(MethodSettings):
    name: Literal["whole"] = "whole"


class WholeAttackSettings(AttackSettings):
    kind: Literal["whole-attack"] = "whole-attack"


@register
class Whole(Method):
    """Says nothing that can be used of its costs, and forgets its base."""

    Settings = WholeSettings

    def __init__(self, settings: MethodSettings, cell: Any) -> None:
        if cell.recipe.epochs != 7:
            super().__init__(settings, cell)

    def loss(self, step: Step) -> dict[str, torch.Tensor]:
        return {"supervised": step.forward(step.views[0]).mean()}

    def passes(self, steps: int, correct: float) -> Passes:
        return 3.5  # type: ignore[return-value]


@register
class WholeAttack(Attack):
    Settings = WholeAttackSettings

    def run(self, model: Any, batch: Any) -> Any:
        return batch.images

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        raise ZeroDivisionError("none")


def test_an_estimate_stops_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be used is assumed, and said once."""
    cell = small_cell(method="whole")
    assert training_flop(cell) == training_flop(cell) > 0
    passes = evaluation_passes(resolve_attack({"kind": "whole-attack"}), 10, Accuracies(0.8, 0.5))
    assert passes.gradients == 100
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "method 'whole': passes returned 3.5" in said[0]
    assert "attack 'whole-attack': passes failed (none)" in said[1]


def test_an_init_without_its_base_is_told() -> None:
    cell = small_cell(method="whole", recipe={"epochs": 7, "batch_size": 32})
    with pytest.raises(UserError, match=r"'whole': its __init__ must call super\(\).__init__"):
        build_method(cell.method, cell.facts())


def test_classes_that_cannot_be_used_are_not_registered() -> None:
    class WithoutSettings(Method):
        def loss(self, step: Step) -> dict[str, torch.Tensor]:
            return {}

    class WithoutLoss(Method):
        Settings = WholeSettings

    class Misnamed(MethodSettings):
        name: Literal["one"] = "other"  # type: ignore[assignment]

    class WithMisnamed(Method):
        Settings = Misnamed

        def loss(self, step: Step) -> dict[str, torch.Tensor]:
            return {}

    class FewArguments(Attack):
        Settings = WholeAttackSettings

        def run(  # type: ignore[override]
            self, model: Any, images: Any, labels: Any, draws: Any, check_stop: Any
        ) -> Any:
            return images

    for extension, says in (
        (WithoutSettings, r"needs a class attribute Settings, a MethodSettings"),
        (WithoutLoss, r"WithoutLoss: has no loss"),
        (WithMisnamed, r"`name` is 'other' by default, and may only be 'one'"),
        (FewArguments, r"run must be a function of \(self, model, batch\)"),
    ):
        with pytest.raises(UserError, match=says):
            register(extension)


def test_an_import_error_names_its_line(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text("import math\n\n\ndef early():\n    return nowhere\n\n\nearly()\n")
    with pytest.raises(UserError, match=r"name 'nowhere' is not defined \(broken\.py, line 5\)"):
        api.load_plugin(str(plugin))


@pytest.mark.parametrize("classes", [9, 11])
def test_a_network_of_other_classes_is_refused(classes: int, small_data: DataSet) -> None:
    images, _ = small_data.train.batch(torch.arange(1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).train()
    with pytest.raises(
        UserError, match=rf"'mine': must return logits .*\(1, 10\).*\(1, {classes}\)"
    ):
        require_logits(model, images, 10, "mine")
    assert model.training


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"radius": "big"}, "radius = 'big': must be a number or a tensor"),
        ({"radius": [1.0]}, r"radius = \[1.0\]: must be a number"),
        ({"radius": torch.ones(3)}, r"radius: a tensor of shape \(3,\)"),
        ({"steps": -1}, "steps = -1: must be a whole number"),
        ({"steps": 1.5}, "steps = 1.5: must be a whole number"),
        ({"step_size": -0.1}, "step_size = -0.1: must be a number of at least 0"),
        ({"step_size": "2/255"}, "step_size = '2/255': must be a number"),
        ({"start": torch.zeros(2)}, r"start: a tensor of shape \(2,\)"),
    ],
    ids=str,
)
def test_numbers_that_an_attack_cannot_have(
    options: dict[str, Any], says: str, small_data: DataSet
) -> None:
    trainee = Trainee.build(small_cell(), torch.device("cpu"), FastPaths())
    step = trainee.draw(small_data.train, torch.arange(8), 1, 2)
    assert step.overall == step.facts.steps_per_epoch + 2
    with pytest.raises(UserError, match=says):
        step.attack(step.views[0], step.labels, **options)
