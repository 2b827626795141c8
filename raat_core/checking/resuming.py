"""A training that is interrupted and resumed, against the same one in one go."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import CHECKPOINTS
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_history
from raat_core.cells.weights import read_weights
from raat_core.checking.attributes import (
    Held,
    attributes_of,
    changed_values,
    describe,
    held_by,
    held_by_modules,
    lost,
)
from raat_core.checking.draws import seed_generators
from raat_core.checking.findings import Report
from raat_core.checking.registered import Extension
from raat_core.checking.tiny import fast_paths, training
from raat_core.errors import Interrupted
from raat_core.training.loop import Training

NOT_METHODS_STATE = ("settings", "cell", "needed")
"""Attributes that every method is built with."""


@dataclass(frozen=True)
class Position:
    """Where a training asks whether to stop; of an evaluation, its `call`th time."""

    epoch: int
    step: int
    epoch_hook_done: bool
    call: int = 0

    def __str__(self) -> str:
        if self.epoch_hook_done:
            return f"in the evaluation after epoch {self.epoch + 1}"
        return f"after step {self.step} of epoch {self.epoch + 1}"


@dataclass
class _Stopping:
    """`check_stop` of a training: notes its positions, and interrupts it at some of them.

    Global generators are set at every step, so that draws from them, which are told by themselves,
    are the same in both trainings.
    """

    stops: list[Position] = field(default_factory=list)
    begun: Callable[[Training], None] = lambda training: None
    """Called once in a session, when its state is loaded and nothing else was done."""
    training: Training | None = None
    seen: list[Position] = field(default_factory=list)

    def __call__(self) -> None:
        training = self.training
        if training is None:  # It is being built.
            return
        progress = training.progress
        here = Position(progress.epoch, progress.step, progress.epoch_hook_done)
        calls = sum(
            (each.epoch, each.step, each.epoch_hook_done)
            == (here.epoch, here.step, here.epoch_hook_done)
            for each in self.seen
        )
        if not self.seen:
            self.begun(training)
        self.seen.append(Position(here.epoch, here.step, here.epoch_hook_done, calls))
        seed_generators(here.epoch, here.step, str(here.epoch_hook_done))
        if here in self.stops:
            self.stops.remove(here)
            raise Interrupted(15)


@dataclass(frozen=True)
class Outcome:
    """What a training left."""

    weights: dict[str, np.ndarray[Any, Any]]
    history: list[dict[str, str]]
    """A row for every epoch, without the clock's column."""

    def difference(self, other: Outcome) -> str:
        """In what two differ first; empty if they are equal bit for bit."""
        for mine, others in zip(self.history, other.history, strict=False):
            if mine != others:
                columns = [key for key, value in mine.items() if others.get(key) != value]
                return f"{', '.join(columns)} of epoch {mine['epoch']}"
        for name, array in self.weights.items():
            if not np.array_equal(array, other.weights[name], equal_nan=True):
                return f"{name}"
        return ""


def outcome(folder: CellFolder) -> Outcome:
    """Of a finished training, without what depends on the clock."""
    weights = {
        f"{checkpoint}.{name}": array
        for checkpoint in CHECKPOINTS
        for name, array in read_weights(folder, checkpoint).arrays.items()
    }
    columns, rows = read_history(folder)
    history = [dict(zip(columns, map(str, row), strict=True)) for row in rows]
    for row in history:
        del row["seconds"]
    return Outcome(weights, history)


def run_through(cell: Cell, folder: Path) -> tuple[Outcome, list[Position]]:
    """Train in one go; also all positions where it could have been interrupted."""
    stopping = _Stopping()
    _session(cell, folder, stopping)
    return outcome(CellFolder(folder)), stopping.seen


def _session(cell: Cell, folder: Path, stopping: _Stopping) -> Training:
    """One process's share of a training; whether it finished shows in the folder."""
    seed_generators("built")
    with fast_paths(""):
        made = training(cell, folder, check_stop=stopping)
    stopping.training, stopping.seen = made, []
    seed_generators("start")
    with contextlib.suppress(Interrupted):
        made.run()
    return made


def chosen_stops(positions: list[Position], name: str) -> list[Position]:
    """A random step of either epoch, the end of the first one's steps, and its evaluation."""
    draws = random.Random(name)
    steps = max(position.step for position in positions)

    def some_step(epoch: int) -> Position:
        return Position(epoch, draws.randrange(1, steps), False)

    return [
        some_step(0), Position(0, steps, False), Position(0, steps, True), some_step(1)
    ]  # fmt: skip


@dataclass
class Resumed:
    """A training that was interrupted and resumed."""

    outcome: Outcome
    lost: dict[str, tuple[str, str]]
    """Attributes of the method that were not the same after a resumption: what they held when the
    training stopped, and then."""


def run_resumed(cell: Cell, folder: Path, stops: list[Position]) -> Resumed:
    """Train with an interruption at every stop, each session with a method of its own."""
    left, held = list(stops), dict[str, Any]()
    found: dict[str, tuple[str, str]] = {}

    def compare(training: Training) -> None:
        before: Held = held.get("method", {})
        after = held_by(training.trainee.method, leave_out=NOT_METHODS_STATE)
        for attribute in attributes_of(lost(before, after)) if held else ():
            found.setdefault(attribute, (describe(before, attribute), describe(after, attribute)))

    while True:
        made = _session(cell, folder, _Stopping(left, compare))
        if CellFolder(folder).manifest.exists():
            return Resumed(outcome(CellFolder(folder)), found)
        held["method"] = held_by(made.trainee.method, leave_out=NOT_METHODS_STATE)


def check_resuming(extension: Extension, cell: Cell, folder: Path, report: Report) -> bool:
    """Whether a training that is interrupted and resumed comes to the same, bit for bit.

    Args:
        extension: the method.
        cell: a tiny one of it.
        folder: a new one for its trainings.
        report: is told if not, and why.

    Raises:
        Exception: whatever the method raises.
    """
    before = held_by_modules(extension.modules)
    through, positions = run_through(cell, folder / "through")
    shared = attributes_of(changed_values(before, held_by_modules(extension.modules)))
    stops = chosen_stops(positions, cell.name)
    resumed = run_resumed(cell, folder / "resumed", stops)
    difference = through.difference(resumed.outcome)
    if shared:
        report.wrong(
            "shared-state",
            f"{', '.join(shared)} of the module or class changed in a training: a resumed one "
            f"finds it as the file has it, and two in one process share it; keep it in self, and "
            f"in state()",
        )
    if not difference or (shared and not resumed.lost):
        return not difference and not shared
    again, _ = run_through(cell, folder / "again")
    if not resumed.lost and through.difference(again):
        report.wrong(
            "not-repeatable",
            f"two trainings of one cell differ in {through.difference(again)}: something is no "
            f"function of the cell's seed, a generator without a seed or the time; "
            f"step.draws(name) is",
        )
        return False
    attributes = "; ".join(
        f"{attribute} was {was}, and is {now}" for attribute, (was, now) in resumed.lost.items()
    )
    advice = "return it in state() and take it back in load_state()"
    missing = f": {attributes}. What is needed later: {advice}" if attributes else ""
    where = ", ".join(map(str, stops))
    report.wrong(
        "state",
        f"a resumed training differs from the uninterrupted one in {difference}; it was stopped "
        f"{where}{missing}",
    )
    return False
