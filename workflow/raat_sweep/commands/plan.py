"""`python -m raat_sweep plan`: what items of a sweep will cost before they are run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cost.timing import Kind
from raat_core.interface.operations import ImageShape
from raat_sweep.commands.text import aligned, hours, shorten
from raat_sweep.config.reading import read_config_file
from raat_sweep.cost.budget import Budget, Line, estimate
from raat_sweep.cost.hardware import Pace
from raat_sweep.cost.timed_work import describe_work
from raat_sweep.plan.plan import Plan

HEADER = "item", "trained", "attacked", "PFLOP to do", "{unit} to do", "longest cell", "hours"
LEFT_ALIGNED = (0, 5)
LONGEST_NAME = 60
"""Columns that a cell's name may take."""


def show_plan(config: Path, items: Sequence[str] = (), gpu: str | None = None) -> str:
    """What is left of items of a config, in text.

    Args:
        config: the sweep's.
        items: names of tables and figures; none for all.
        gpu: the hardware to estimate hours of; without, the one that was timed most.

    Raises:
        UserError: the config is not valid, or there is no such item or hardware.
    """
    plan = Plan(read_config_file(config))
    return "\n".join([render(estimate(plan, items, gpu)), *plan.notes])


def render(budget: Budget) -> str:
    """The table of items, and where its hours come from."""
    total = budget.total
    if total.trained == total.cells and total.attacked == total.jobs:
        return f"Everything is done: {total.cells} cells, {total.jobs} attack jobs."
    unit = "GPU-hours" if budget.on_gpu else "CPU-hours"
    lines = budget.lines if len(budget.lines) == 1 else [*budget.lines, total]
    header = tuple(name.format(unit=unit) for name in HEADER)
    text = aligned([header, *map(_places, lines)], LEFT_ALIGNED)
    if budget.shared:
        text.append(
            f"{budget.shared} cells stand in more than one item; the total counts each once."
        )
    text += ["", f"{unit} are of {budget.hardware}, without the start of jobs:"]
    text += [f"  {line}" for line in _bases(budget.paces)]
    if budget.errors:
        text.append(f"Error of such estimates, each from other cells: {'; '.join(budget.errors)}.")
    else:
        text.append("No two cells have run on it: how far this is off is not known.")
    if budget.assumed:
        datasets = ", ".join(DATA_SETS[name].title for name in budget.assumed)
        text.append(
            f"The cost of AutoAttack, and of others like it, follows accuracies, which are "
            f"assumed until a cell of a kind is trained: {datasets}."
        )
    if budget.assumed_operations:
        titles = ", ".join(ARCHITECTURES[name].title for name in budget.assumed_operations)
        text.append(
            f"Operations are assumed to be those of ResNet-18 until a cell is trained or "
            f"`python -m raat_core measure` has counted them: {titles}."
        )
    return "\n".join([*text, *budget.warnings])


def _places(line: Line) -> tuple[str, ...]:
    left = bool(line.cost.flop)
    return (
        line.name,
        f"{line.trained}/{line.cells}",
        f"{line.attacked}/{line.jobs}",
        f"{line.cost.flop / 1e15:,.4g}" if left else "0",
        hours(line.cost.seconds) if left else "0",
        shorten(line.longest, LONGEST_NAME),
        hours(line.longest_seconds) if line.longest else "",
    )


def _bases(paces: Mapping[tuple[str, ImageShape, Kind], Pace]) -> list[str]:
    """A line per pace, with all the work that goes at it."""
    work = defaultdict(list)
    for (architecture, shape, kind), pace in paces.items():
        work[pace].append(describe_work((architecture, shape), kind))
    return [
        f"{_rate(pace.flop_per_second)}, {pace.basis}"
        + (f": {'; '.join(whose)}" if pace.is_measured else "")
        for pace, whose in work.items()
    ]


def _rate(flop_per_second: float) -> str:
    if flop_per_second >= 1e12:
        return f"{flop_per_second / 1e12:.3g} TFLOP/s"
    return f"{flop_per_second / 1e9:.3g} GFLOP/s"
