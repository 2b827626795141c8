"""Attacks that cannot work: whose steps do not reach the surface of their ball.

What is reported is refused; what trains a model or chooses its checkpoint may be weak on purpose,
as may be what a grid varies: there is a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation
from raat_core.errors import UserError
from raat_core.specs.threat_model import NORM_SYMBOLS, ThreatModel, out_of_reach
from raat_core.validation import format_fraction
from raat_sweep.config.attacks import AttackEntry, Changes
from raat_sweep.config.balls import part_of_epsilon

_OF_STEPS = {"steps", "step_size"}
"""Settings of which a grid that varies them may have too small ones."""
FARTHEST_APART = 2
"""Radii of balls, one by the other, that attacks of one step size are made in without a note."""
Resolved = Iterable[tuple[str, Changes, Evaluation]]
"""Attacks that are asked for: name, what a grid varies, and settings."""


def check_reach(attack: Evaluation, changes: Changes) -> None:
    """Refuse an attack that cannot reach the surface of its ball, unless a grid varies its steps.

    Raises:
        ValueError: says what would reach it.
    """
    why = attack.out_of_reach()
    if why and not _OF_STEPS & {key for key, _ in changes}:
        raise ValueError(why)


def check_norm(
    entry: AttackEntry, attack: Evaluation, threat: ThreatModel, changes: Changes
) -> None:
    """Refuse an attack in another norm whose radius is the threat model's.

    Raises:
        ValueError: says that the radius is to be given.
    """
    norm = getattr(attack, "norm", threat.norm)
    epsilon = {**entry.settings, **dict(changes)}.get("epsilon")
    if norm != threat.norm and (epsilon is None or part_of_epsilon(epsilon) is not None):
        size = format_fraction(threat.epsilon)
        raise ValueError(
            f"norm = '{norm}': needs an epsilon of its own such as 128/255, because the threat "
            f"model's, {size}, is a radius in {threat.norm}"
        )


def check_step_sizes(entries: Mapping[str, AttackEntry], resolved: Resolved) -> None:
    """Refuse an attack whose step size is a number and that is made in balls of several norms.

    Raises:
        UserError: names the attack, and a step size that fits every ball.
    """
    for name, attacks in _of_one_step_size(entries, resolved).items():
        norms = sorted({str(getattr(attack, "norm", "")) for attack in attacks})
        if len(norms) > 1:
            raise UserError(
                f"attacks.{name}.step_size = {entries[name].settings['step_size']}: the attack is "
                f"made in balls of {' and '.join(norms)}, whose steps do not compare; leave it "
                f"out, or give it as a part such as `1/4 of epsilon`, or another attack for each"
            )


def notes_on_attacks(
    entries: Mapping[str, AttackEntry], resolved: Resolved, cells: Iterable[Cell]
) -> list[str]:
    """A line for all that may be weaker than it is meant to be, each once."""
    found = list(resolved)
    notes = [
        *_notes_on_steps(found),
        *_notes_on_step_sizes(entries, found),
        *(note for cell in cells for note in _notes_on_training(cell)),
    ]
    return list(dict.fromkeys(notes))


def _of_one_step_size(
    entries: Mapping[str, AttackEntry], resolved: Resolved
) -> dict[str, list[Evaluation]]:
    """The attacks that are asked for with one step size in whatever ball, by name."""
    found: dict[str, list[Evaluation]] = {}
    for name, changes, attack in resolved:
        is_set = any(key == "step_size" for key, _ in changes)
        if entries[name].shares_step_size and not is_set and attack.kind != "clean":
            found.setdefault(name, []).append(attack)
    return found


def _notes_on_steps(resolved: Resolved) -> Iterator[str]:
    """On attacks that a grid varies; others are refused."""
    for name, changes, attack in resolved:
        why = attack.out_of_reach()
        if why:
            varied = ", ".join(f"attack.{key} = {value}" for key, value in changes)
            yield f"attacks.{name} with {varied}: {why}"


def _notes_on_step_sizes(
    entries: Mapping[str, AttackEntry], resolved: Sequence[tuple[str, Changes, Evaluation]]
) -> Iterator[str]:
    for name, attacks in _of_one_step_size(entries, resolved).items():
        radii = sorted({e for a in attacks if isinstance(e := getattr(a, "epsilon", 0), Fraction)})
        if radii and radii[-1] > FARTHEST_APART * radii[0]:
            yield (
                f"attacks.{name}.step_size = {entries[name].settings['step_size']} is the same in "
                f"balls of {format_fraction(radii[0])} to {format_fraction(radii[-1])}; as a part "
                f"such as `1/4 of epsilon` it fits each"
            )


def _notes_on_training(cell: Cell) -> Iterator[str]:
    if not cell.trains:
        return
    threat, selection = cell.threat_model, cell.selection
    ball = f"{NORM_SYMBOLS[threat.norm]}, {cell.dataset}"
    if why := out_of_reach(threat.steps, threat.step_size, threat.epsilon):
        yield f"the training attack ({ball}) is weak: {why}"
    if selection.attack is not None:
        why = selection.attack.out_of_reach()
    elif selection.by == "robust":
        why = out_of_reach(selection.steps, threat.step_size, threat.epsilon)
    else:
        return
    if why:
        yield f"the attack that chooses the best checkpoint ({ball}) is weak: {why}"
