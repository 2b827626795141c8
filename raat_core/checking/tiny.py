"""Cells that train in half a second, on a few of the real digits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from raat_core.cells.cell import EXTRA_LABELS, Cell
from raat_core.cells.folder import CellFolder
from raat_core.checking.registered import missing_settings, own_fields, refusal
from raat_core.data.dataset import DataSet, Split, load_data_set
from raat_core.fast.switches import VARIABLE
from raat_core.interface.needs import NeededCell, needs_of
from raat_core.interface.registry import method_class
from raat_core.interface.step import Step
from raat_core.training.loop import Training
from raat_core.training.step import TrainingStep

NORMS = ("linf", "l2")
_BALLS: dict[str, dict[str, Any]] = {
    "linf": {"norm": "linf", "epsilon": 0.15, "step_size": 0.075, "steps": 2},
    "l2": {"norm": "l2", "epsilon": 1.0, "step_size": 0.5, "steps": 2},
}
_TRAIN, _TEST = 56, 40
"""Images: four steps an epoch, of which the last has half a batch."""
_SPEC: dict[str, Any] = {
    "dataset": "digits",
    "architecture": "resnet-mini",
    "recipe": {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 0.05,
        "decay_epochs": [1],
        "augmentation": {"crop_padding": 1, "flip": False},
    },
    "selection": {"steps": 1},
}
_OF_EPOCHS = re.compile(r"(^|_)(epochs?|from|start|begin|after|until|warm\w*)(_|$)")
"""In names of settings: what happens from some epoch on should happen in a check."""
CPU = torch.device("cpu")


def ball(norm: str) -> dict[str, Any]:
    """Norm, epsilon, step_size and steps of a threat model for digits."""
    return dict(_BALLS[norm])


@lru_cache(maxsize=4)
def few_digits(train: int = _TRAIN, test: int = _TEST) -> DataSet:
    """The first of them."""
    digits = load_data_set("digits")

    def first(split: Split, count: int) -> Split:
        return split.take(torch.arange(count))

    return DataSet(first(digits.train, train), first(digits.test, test), digits.classes, "tiny")


@dataclass
class TinyCells:
    """A method's cells for a check, and what its settings refuse."""

    cells: dict[str, Cell] = field(default_factory=dict)
    """By norm."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why, by norm."""
    missing: list[str] = field(default_factory=list)
    """Settings without a default that were not given."""
    adapted: dict[str, Any] = field(default_factory=dict)
    """Settings that the check has chosen."""


def tiny_cells(method: str, given: Mapping[str, Any]) -> TinyCells:
    """Cells of two epochs in both norms, as far as the method's settings allow.

    A cell that is asked for and not given is PGD-AT's. Where two epochs are too few for a default
    (the first epoch of an average, say), by its name or because the settings say so, that setting
    is 1; where extra data is asked for, there is some.

    Args:
        method: its name.
        given: settings that are not their defaults, by config key.
    """
    settings = method_class(method).Settings
    found, chosen = TinyCells(), dict(given)
    for key in missing_settings(settings, given):
        if NeededCell in _types(own_fields(settings)[key].annotation):
            chosen[key] = found.adapted[key] = {"method": "pgd-at"}
        else:
            found.missing.append(key)
    if found.missing:
        return found
    for norm in NORMS:
        try:
            found.cells[norm] = _accepted(method, chosen, norm, found.adapted)
        except ValueError as error:
            found.refused[norm] = refusal(error)
    return found


def _accepted(method: str, given: Mapping[str, Any], norm: str, adapted: dict[str, Any]) -> Cell:
    """The first cell that the settings accept; `adapted` is told what was changed for it.

    Raises:
        ValueError: they accept none; why not the first one.
    """
    first: ValueError | None = None
    for changed in _lowered(method, given):
        for extra in ({}, {"extra_data": {"dataset": "digits", "share": 0.25}}):
            try:
                cell = _cell({"name": method, **given, **changed}, norm, extra)
            except ValueError as error:
                first = first or error
                continue
            adapted.update({**changed, **extra})
            return cell
    assert first is not None
    raise first


def _cell(method: Mapping[str, Any], norm: str, extra: Mapping[str, Any]) -> Cell:
    spec = {**_SPEC, "method": dict(method), "threat_model": ball(norm), **extra}
    cell = Cell.model_validate(spec)
    needs = needs_of(cell.method)
    if not needs:
        return cell
    # Whatever it asks for is made here, as small as the cell itself.
    small = {
        key: need.replace(
            {
                "method": _short(need.method.model_dump(by_alias=True)),
                **dict.fromkeys(
                    ("recipe", "threat_model", "dataset", "image_folder", "architecture",
                     "selection", "extra_data")
                ),
            }
        )
        for key, need in needs.items()
    }  # fmt: skip
    return Cell.model_validate({**spec, "method": cell.method.replace(small)})


def _short(method: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a needed cell's method that two epochs are enough for."""
    own = {key: value for key, value in method.items() if key != "name"}
    name = str(method["name"])
    for changed in _lowered(name, {}):
        try:
            Cell.model_validate(
                {**_SPEC, "method": {"name": name, **own, **changed}, "threat_model": ball("linf")}
            )
        except ValidationError:
            continue
        return {"name": name, **own, **changed}
    return dict(method)


def _lowered(method: str, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Whole numbers above 1 among the defaults, as 1: those of epochs, by their names, first.

    Then none, each one, and all of them.
    """
    fields = own_fields(method_class(method).Settings)
    larger = {
        key: 1
        for key, field in fields.items()
        if key not in given and type(field.default) is int and field.default > 1
    }
    yield {key: value for key, value in larger.items() if _OF_EPOCHS.search(key)}
    yield {}
    yield from ({key: value} for key, value in larger.items())
    yield larger


def _types(annotation: Any) -> Sequence[Any]:
    return (annotation, *get_args(annotation))


def training(cell: Cell, folder: Path, **options: Any) -> Training:
    """A training of a tiny cell, on the CPU; what it needs lies beside its folder."""
    extra = None if cell.extra_data is None else few_digits()
    return Training(cell, CellFolder(folder), few_digits(), CPU, extra=extra, **options)


def train_needs(cell: Cell, cells: Path) -> None:
    """Train what a tiny cell needs, in folders of `cells`."""
    for setting, need in cell.needs.items():
        assert setting != EXTRA_LABELS, "tiny cells' extra data has labels"
        folder = cells / need.cell.name
        train_needs(need.cell, cells)
        if not CellFolder(folder).manifest.exists():
            training(need.cell, folder).run()


@contextmanager
def fast_paths(text: str) -> Iterator[None]:
    """Inside the block trainings take the fast paths that `text` names; empty: the usual ones."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = text
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


class Rehearsal:
    """A tiny training whose steps are taken one by one, with nothing evaluated or saved."""

    def __init__(self, cell: Cell, folder: Path, fast: str = "") -> None:
        """Build it.

        Args:
            cell: a tiny one.
            folder: of the cell; what it needs lies beside it.
            fast: as for `fast_paths`.
        """
        with fast_paths(fast):
            self.training = training(cell, folder)
        self.trainee, self.cell = self.training.trainee, cell
        self.method, self.model = self.trainee.method, self.trainee.model
        self.is_double = False

    def in_double_precision(self) -> None:
        """Compute in float64 from here on."""
        self.is_double = True
        self.model.double()
        for model in self.method.needed.values():
            model.double()

    def positions(self) -> Iterator[tuple[int, int]]:
        """All its steps, as (epoch, step), both from 0."""
        for epoch in range(self.cell.recipe.epochs):
            yield from ((epoch, step) for step in range(self.training.steps_per_epoch))

    def is_last_of_epoch(self, number: int) -> bool:
        """Whether the epoch's hook is due after this step."""
        return number + 1 == self.training.steps_per_epoch

    def step(self, epoch: int, number: int) -> TrainingStep:
        """A step that is not taken yet."""
        indices = self.training.batches(epoch)[number]
        self.model.train()
        step = self.trainee.draw(self.training.train_split, indices, epoch, number)
        if not self.is_double:
            return step
        views = tuple(view.double() for view in step.views)
        return replace(step, views=views, natural=step.natural.double())

    def losses(self, step: TrainingStep) -> dict[str, Tensor]:
        """The loss's terms, detached; BatchNorm's statistics stay as they are."""
        at_rest: Step = step if step.at_rest else replace(step, at_rest=True)
        terms = self.method.loss(at_rest)
        return {name: term.detach().clone() for name, term in terms.items()}
