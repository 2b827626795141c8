"""Recipes: schedules are torch's, defaults are no part of digests, nonsense is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from conftest import SMALL_CELL, small_cell
from raat_core import api
from raat_core.errors import UserError
from raat_core.specs.recipe import Recipe
from raat_core.specs.schedule import Moment
from raat_core.validation import parse

EPOCHS, STEPS = 3, 7
WHOLE = EPOCHS * STEPS
Make = Callable[[SGD], LRScheduler]


def sequential(optimizer: SGD, warmup: int, after: LRScheduler) -> LRScheduler:
    rise = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, after], milestones=[warmup])


SCHEDULES: list[tuple[Any, str, Make]] = [
    (None, "epoch", lambda o: lr_scheduler.MultiStepLR(o, [1, 2], gamma=0.5)),
    (
        {"kind": "steps", "per": "step", "warmup_epochs": 1, "warmup_from": 0.1},
        "step",
        lambda o: lr_scheduler.ChainedScheduler(
            [
                lr_scheduler.MultiStepLR(o, [STEPS, 2 * STEPS], gamma=0.5),
                lr_scheduler.LinearLR(o, 0.1, total_iters=STEPS),
            ]
        ),
    ),
    ({"kind": "cosine"}, "epoch", lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS)),
    (
        {"kind": "cosine", "per": "step", "final": 0.1},
        "step",
        lambda o: lr_scheduler.CosineAnnealingLR(o, WHOLE, eta_min=0.02),
    ),
    (
        {"kind": "cosine", "per": "step", "warmup_epochs": 1, "warmup_from": 0.1},
        "step",
        lambda o: sequential(
            o, STEPS, lr_scheduler.CosineAnnealingLR(o, WHOLE - STEPS)
        ),
    ),
    (
        {"kind": "one-cycle"},
        "step",
        lambda o: lr_scheduler.OneCycleLR(o, 0.2, WHOLE, cycle_momentum=False),
    ),
    (
        {"kind": "one-cycle", "rise": 0.25, "anneal": "linear", "momentum": [0.85, 0.95]},
        "step",
        lambda o: lr_scheduler.OneCycleLR(o, 0.2, WHOLE, pct_start=0.25, anneal_strategy="linear"),
    ),
    (
        {"kind": "triangular", "peak": 8 / WHOLE, "initial": 0.05, "final": 0.05},
        "step",
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.2, 8, WHOLE - 8, cycle_momentum=False),
    ),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize(
    ("schedule", "per", "make"),
    SCHEDULES,
    ids=lambda value: "" if callable(value) else str(value)[:60],
)
def test_rates_are_those_of_torch(schedule: Any, per: str, make: Make) -> None:
    steps = {"decay_epochs": [1, 2], "decay_factor": 0.5}
    kind = "steps" if schedule is None else schedule["kind"]
    recipe = Recipe.model_validate(
        {
            "epochs": EPOCHS,
            "learning_rate": 0.2,
            "schedule": schedule,
            **(steps if kind == "steps" else {}),
        }
    )
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.2, momentum=0.9)
    scheduler = make(optimizer)
    optimizer.step()
    for epoch in range(EPOCHS):
        for step in range(STEPS):
            moment = Moment(epoch, step, EPOCHS, STEPS)
            (group,) = optimizer.param_groups
            assert recipe.learning_rate_at(moment) == pytest.approx(group["lr"], rel=1e-9)
            if (schedule or {}).get("momentum"):
                assert recipe.momentum_at(moment) == pytest.approx(group["momentum"])
            if per == "step" and (epoch, step) != (EPOCHS - 1, STEPS - 1):
                scheduler.step()
        if per == "epoch":
            scheduler.step()


def test_new_settings_at_their_defaults_are_no_part_of_the_spec() -> None:
    plain = small_cell()
    spelt = {
        "optimiser": {"kind": "sgd", "nesterov": False},
        "schedule": None,
        "label_smoothing": 0.0,
        "gradient_clipping": None,
        "drop_last": False,
        "patience": None,
        "averaging": None,
        "perturbation": None,
    }
    assert small_cell(recipe={**SMALL_CELL["recipe"], **spelt}).name == plain.name
    assert not spelt.keys() & plain.to_json()["recipe"].keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "adamw"},
        {"optimiser": {"kind": "sgd", "nesterov": True}},
        {"schedule": {"kind": "steps", "warmup_epochs": 1}},
        {"label_smoothing": 0.1},
        {"gradient_clipping": 1.0},
        {"drop_last": True},
        {"patience": 3},
        {"averaging": "ema"},
        {"averaging": {"kind": "swa", "from_epoch": 1}},
        {"perturbation": {"kind": "awp", "gamma": 0.0}},
    ],
    ids=str,
)
def test_a_setting_makes_another_cell_that_reads_back(changes: dict[str, Any]) -> None:
    cell = small_cell(recipe={**SMALL_CELL["recipe"], **changes})
    assert cell.digest != small_cell().digest
    assert api.cell(cell.to_json()) == cell


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"optimiser": "adam"}, ["optimiser", "'adam'", "adamw"]),
        ({"optimiser": "adamw", "momentum": 0.8}, ["momentum = 0.8", "optimiser.betas"]),
        ({"optimiser": {"kind": "sgd", "betas": [0.9, 0.9]}}, ["'betas'", "nesterov"]),
        ({"optimiser": {"kind": "adamw", "betas": [0.9, 1.0]}}, ["betas", "less than 1"]),
        ({"optimiser": {"nesterov": True}, "momentum": 0}, ["optimiser", "kind: is missing"]),
        ({"schedule": "cosin"}, ["schedule", "cosine"]),
        ({"schedule": "cosine", "decay_epochs": [2]}, ["decay_epochs", "steps", "cosine"]),
        ({"schedule": {"kind": "cosine", "warmup_epochs": 5}, "epochs": 5}, ["warmup_epochs = 5"]),
        ({"schedule": {"kind": "one-cycle", "momentum": [0.9, 0.8]}}, ["momentum", "ascend"]),
        ({"averaging": {"kind": "ema", "from_epoch": 110}}, ["averaging.from_epoch = 110", "110"]),
        ({"averaging": {"kind": "ema", "report": "trained"}}, ["report", "for nothing"]),
        ({"averaging": "mean"}, ["averaging", "ema, swa"]),
        ({"perturbation": {"kind": "awp", "from_epoch": 200}}, ["perturbation.from_epoch = 200"]),
        ({"label_smoothing": 1.0}, ["label_smoothing", "less than 1"]),
        ({"patience": 0}, ["patience", "greater than or equal to 1"]),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        parse(Recipe, changes, "recipe")
    (line,) = str(refused.value).splitlines()
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("method", "recipe", "parts"),
    [
        ("mart", {"label_smoothing": 0.1}, ["label_smoothing = 0.1", "'mart'"]),
        ({"name": "wa", "average_from": 1}, {"averaging": "ema"}, ["averaging", "wa averages"]),
        ("pgd-at", {"batch_size": 5000, "drop_last": True}, ["batch_size = 5000", "1437"]),
    ],
    ids=str,
)
def test_a_recipe_that_a_method_or_data_set_cannot_have(
    method: Any, recipe: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        small_cell(method=method, recipe={**SMALL_CELL["recipe"], **recipe})
    (line,) = str(refused.value).splitlines()
    for part in parts:
        assert part in line
