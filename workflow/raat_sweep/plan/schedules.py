"""Schedules of cells that may not be what was meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from raat_core.cells.cell import Cell
from raat_core.specs.recipe import Recipe


def notes_on_schedules(cells: Iterable[Cell]) -> list[str]:
    """A line for every recipe that is over before the learning rate has decayed.

    It is allowed: who shortens a training may have left `decay_epochs` as it is by default.
    """
    found: dict[tuple[tuple[int, ...], int, tuple[int, ...]], list[Cell]] = defaultdict(list)
    for cell in cells:
        missed = _missed(cell.recipe)
        if missed:
            found[cell.recipe.decay_epochs, cell.recipe.epochs, missed].append(cell)
    return [
        f"recipe.decay_epochs = {list(decays)}: with epochs = {epochs} there is no decay at "
        f"{' and '.join(map(str, missed))} ({_whose(some)})"
        for (decays, epochs, missed), some in found.items()
    ]


def _missed(recipe: Recipe) -> tuple[int, ...]:
    """The decays after which no epoch is left."""
    if recipe.schedule is not None and recipe.schedule.kind != "steps":
        return ()
    return tuple(epoch for epoch in recipe.decay_epochs if epoch >= recipe.epochs)


def _whose(cells: list[Cell]) -> str:
    first = cells[0].name
    return first if len(cells) == 1 else f"{len(cells)} cells, such as {first}"
