"""What is left of a sweep, in operations and in hours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import EvaluationList, evaluation_name
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_progress
from raat_core.cost.flop import (
    Accuracies,
    depends_on_accuracies,
    evaluation_flop,
    operations_are_assumed,
    training_flop,
)
from raat_core.cost.timing import Kind, kind_of, kind_of_training
from raat_core.errors import UserError
from raat_core.interface.operations import ImageShape
from raat_core.validation import format_fraction, suggest
from raat_sweep.cost.estimate_errors import estimate_errors
from raat_sweep.cost.hardware import Pace
from raat_sweep.cost.resources import resources_of_both
from raat_sweep.cost.throughput import Throughput
from raat_sweep.cost.timed_runs import read_accuracies, read_throughput
from raat_sweep.plan.plan import Plan
from raat_sweep.results.listing import names_in

HELPERS = "needed cells"
"""The line of cells that those of the items need and that stand in none of them; no item has such
a name."""


@dataclass(frozen=True)
class Cost:
    """Of work that is to be done."""

    flop: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flop + other.flop, self.seconds + other.seconds)


@dataclass(frozen=True)
class RemainingWork:
    """What is left of a cell: its training, and its attack jobs by name of their list."""

    is_trained: bool
    training: Cost
    attacks: Mapping[str, Cost | None]
    """None for a job that is done."""


@dataclass(frozen=True)
class Line:
    """What is left of an item, or of all."""

    name: str
    cells: int
    trained: int
    jobs: int
    attacked: int
    cost: Cost
    longest: str
    """The name of the cell that takes longest; empty if nothing is left."""
    longest_seconds: float


@dataclass(frozen=True)
class Budget:
    """What is left of some items of a plan, on some hardware."""

    hardware: str
    on_gpu: bool
    lines: Sequence[Line]
    total: Line
    """Every cell once, though items share it."""
    shared: int
    """How many cells stand in more than one of the items."""
    paces: Mapping[tuple[str, ImageShape, Kind], Pace]
    """That the hours are made of."""
    assumed: Sequence[str]
    """Whose accuracies the cost of attacks follows: data sets, of whose cells none is trained."""
    assumed_operations: Sequence[str]
    """Architectures whose operations nobody has counted yet."""
    errors: Sequence[str]
    warnings: Sequence[str]


def estimate(plan: Plan, items: Sequence[str] = (), gpu: str | None = None) -> Budget:
    """What is left of items of a plan: see `show_plan`."""
    for item in items:
        if item not in plan.config.items:
            raise UserError(f"item '{item}'{suggest(item, plan.config.items)}")
    jobs: dict[str, _Jobs] = {
        item: _jobs_of(plan, item) for item in dict.fromkeys(items or plan.config.items)
    }
    if helpers := plan.helpers_of(jobs):
        jobs[HELPERS] = {cell: [] for cell in helpers}
    everything = _merged(jobs.values())
    throughput = read_throughput(Path(plan.config.results), plan.cells)
    if gpu is None:
        hardware = throughput.default(on_gpu=_asks_for_gpu(plan, everything))
    else:
        hardware = throughput.find(gpu)
    estimator = _Estimator(plan, throughput, hardware)
    left = {cell: estimator.remaining(cell, lists) for cell, lists in everything.items()}
    counts = Counter(cell for item, cells in jobs.items() for cell in cells if item != HELPERS)
    return Budget(
        hardware=hardware,
        on_gpu=throughput.is_gpu(hardware),
        lines=[_line(item, of_item, left) for item, of_item in jobs.items()],
        total=_line("total", everything, left),
        shared=sum(count > 1 for count in counts.values()),
        paces=estimator.paces,
        assumed=sorted(estimator.assumed),
        assumed_operations=sorted(
            {name for name, shape, _ in estimator.paces if operations_are_assumed(name, shape)}
        ),
        errors=[str(error) for error in estimate_errors(throughput, hardware)],
        warnings=throughput.warnings,
    )


_Jobs = Mapping[str, Sequence[str]]
"""Names of attack lists by name of cell."""


def _jobs_of(plan: Plan, item: str) -> _Jobs:
    jobs: dict[str, list[str]] = {cell: [] for cell in plan.items[item].curves}
    for cell, attacks in plan.jobs_of(item):
        jobs.setdefault(cell, []).append(attacks)
    return jobs


def _merged(several: Iterable[_Jobs]) -> _Jobs:
    merged: dict[str, dict[str, None]] = defaultdict(dict)
    for some in several:
        for cell, jobs in some.items():
            merged[cell].update(dict.fromkeys(jobs))
    return {cell: list(jobs) for cell, jobs in merged.items()}


def _asks_for_gpu(plan: Plan, jobs: _Jobs) -> bool:
    """Whether any cell does: the small ones beside it take hardly any time."""
    return any(
        resources_of_both(
            plan.cells[cell],
            tuple(a for name in lists for a in plan.jobs.lists[cell, name].attacks),
        ).gpu
        for cell, lists in jobs.items()
    )


class _Estimator:
    """Looks up what is done and prices the rest; notes what it took prices from."""

    def __init__(self, plan: Plan, throughput: Throughput, hardware: str) -> None:
        self.plan, self.throughput, self.hardware = plan, throughput, hardware
        self.cells = Path(plan.config.results) / "cells"
        self.paces: dict[tuple[str, ImageShape, Kind], Pace] = {}
        self.assumed: set[str] = set()
        self._like = _mean_accuracies(plan, throughput.accuracies)

    def remaining(self, name: str, jobs: Sequence[str]) -> RemainingWork:
        """What is left of a cell and of some of its attack jobs."""
        cell, folder = self.plan.cells[name], CellFolder(self.cells / name)
        files = names_in(folder.path)
        is_trained = folder.manifest.name in files
        training = Cost()
        if not is_trained and cell.trains:
            done = read_progress(folder).epoch if folder.history.name in files else 0
            flop = training_flop(cell, self._like.get(_likeness(cell)), done)
            training = self._cost(cell, kind_of_training(cell.precision), flop)
        attacks: dict[str, Cost | None] = {}
        for job in jobs:
            if self.plan.jobs.summary_name(name, job) in files:
                attacks[job] = None
            else:
                wanted = self.plan.jobs.lists[name, job]
                attacks[job] = self._attacks(cell, folder, wanted, is_trained)
        return RemainingWork(is_trained, training, attacks)

    def _attacks(
        self, cell: Cell, folder: CellFolder, wanted: EvaluationList, is_trained: bool
    ) -> Cost:
        """Of those in the list that have no record."""
        recorded = names_in(folder.path / "records") if is_trained else []
        accuracies = self._accuracies(cell, folder, is_trained)
        cost = Cost()
        for evaluation in wanted.attacks:
            if folder.record(evaluation_name(evaluation, wanted.checkpoint)).name in recorded:
                continue
            if accuracies is None and depends_on_accuracies(evaluation):
                self.assumed.add(cell.dataset)
            flop = evaluation_flop(cell, evaluation, accuracies)
            cost += self._cost(cell, kind_of(evaluation), flop)
        return cost

    def _accuracies(self, cell: Cell, folder: CellFolder, is_trained: bool) -> Accuracies | None:
        """The cell's own, or those of trained cells like it."""
        own = self.throughput.accuracies.get(cell.name)
        if own is None and is_trained:
            own = read_accuracies(cell, folder)
        return own or self._like.get(_likeness(cell))

    def _cost(self, cell: Cell, kind: Kind, flop: float) -> Cost:
        key = cell.architecture, DATA_SETS[cell.dataset].image_shape, kind
        if key not in self.paces:
            self.paces[key] = self.throughput.pace(self.hardware, *key)
        return Cost(flop, flop / self.paces[key].flop_per_second)


def _likeness(cell: Cell) -> object:
    """Cells that share it reach about the same accuracies."""
    threat = cell.threat_model
    return cell.dataset, cell.architecture, threat.norm, format_fraction(threat.epsilon)


def _mean_accuracies(plan: Plan, accuracies: Mapping[str, Accuracies]) -> dict[object, Accuracies]:
    found: dict[object, list[Accuracies]] = defaultdict(list)
    for name, own in accuracies.items():
        if name in plan.cells:
            found[_likeness(plan.cells[name])].append(own)
    return {
        like: Accuracies(
            sum(one.clean for one in some) / len(some), sum(one.robust for one in some) / len(some)
        )
        for like, some in found.items()
    }


def _line(name: str, jobs: _Jobs, left: Mapping[str, RemainingWork]) -> Line:
    costs = {cell: _cost_of(left[cell], lists) for cell, lists in jobs.items()}
    attacks = [left[cell].attacks[job] for cell, lists in jobs.items() for job in lists]
    longest = max(costs, key=lambda cell: costs[cell].seconds, default="")
    seconds = costs[longest].seconds if longest else 0.0
    return Line(
        name=name,
        cells=len(jobs),
        trained=sum(left[cell].is_trained for cell in jobs),
        jobs=len(attacks),
        attacked=attacks.count(None),
        cost=sum(costs.values(), Cost()),
        longest=longest if seconds else "",
        longest_seconds=seconds,
    )


def _cost_of(left: RemainingWork, jobs: Sequence[str]) -> Cost:
    """Of a cell, for an item that has some of its attack jobs."""
    missing = (cost for job in jobs if (cost := left.attacks[job]) is not None)
    return sum(missing, left.training)
