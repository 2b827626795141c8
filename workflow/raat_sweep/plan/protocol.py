"""How an item's numbers were made, in sentences for captions."""

from __future__ import annotations

from collections.abc import Iterable

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import AutoAttackEvaluation, CleanEvaluation, Evaluation
from raat_core.specs.threat_model import NORM_SYMBOLS
from raat_core.validation import format_fraction
from raat_sweep.plan.plan import Plan


def protocol_of(plan: Plan, name: str) -> list[str]:
    """Seeds, balls, training, attacks and checkpoints of an item, a sentence each."""
    item, titles = plan.items[name], plan.config.titles
    cells, attacks = item.cells, [f"{titles[n]}: {_attack(a)}" for n, a in item.attacks]
    return [
        _seeds(cells),
        "Balls: " + _join(map(_ball, cells)) + ".",
        "Training: " + _join(map(_training, cells)) + ".",
        *([f"Attacks: {_join(attacks)}."] if attacks else []),
        _selection(plan, name),
    ]


def _join(parts: Iterable[str]) -> str:
    """What differs, each once."""
    return "; ".join(dict.fromkeys(parts))


def _seeds(cells: list[Cell]) -> str:
    seeds = sorted({cell.seed for cell in cells})
    return f"n = {len(seeds)} seeds ({', '.join(map(str, seeds))})."


def _ball(cell: Cell) -> str:
    threat = cell.threat_model
    return (
        f"{NORM_SYMBOLS[threat.norm]}, ε = {format_fraction(threat.epsilon)}, training attack of "
        f"{threat.steps} steps of {format_fraction(threat.step_size)}"
    )


def _training(cell: Cell) -> str:
    recipe = cell.recipe
    decays = ", ".join(map(str, recipe.decay_epochs)) or "never"
    return (
        f"{recipe.epochs} epochs, batches of {recipe.batch_size}, learning rate "
        f"{recipe.learning_rate:g}, times {recipe.decay_factor:.3g} after epochs {decays}, "
        f"{cell.precision}"
    )


def _attack(attack: Evaluation) -> str:
    images = "all test images" if attack.samples is None else f"{attack.samples} test images"
    if isinstance(attack, CleanEvaluation):
        return images
    if isinstance(attack, AutoAttackEvaluation):
        return f"AutoAttack {attack.version}, {images}"
    restarts = "" if attack.restarts == 1 else f" and {attack.restarts} starts"
    steps = f"{attack.steps} steps of {format_fraction(attack.step_size)}{restarts}"
    return f"{steps} on the {attack.objective}, {images}"


def _selection(plan: Plan, name: str) -> str:
    selection = plan.config.selection
    checkpoints = _join(plan.items[name].checkpoints)
    every = "every epoch" if selection.every == 1 else f"every {selection.every} epochs"
    return (
        f"Checkpoint: {checkpoints}; the best is chosen by PGD-{selection.steps} accuracy on the "
        f"{selection.split} split, looked at after {every}."
    )
