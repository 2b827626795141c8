"""The attacks of a config, in the balls of cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell, Need
from raat_core.cells.evaluations import Checkpoint, Evaluation, check_attack
from raat_core.cells.transfer import needed_by, resolved_on
from raat_core.errors import UserError
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import explain
from raat_sweep.config.attacks import AttackEntry, Changes
from raat_sweep.plan.needs import NamedNeeds
from raat_sweep.plan.reach import check_norm, check_reach


class Asked(NamedTuple):
    """An attack that an item asks for, on a checkpoint of a cell."""

    cell: Cell
    checkpoint: Checkpoint
    attack: str
    """By name."""
    changes: Changes = ()
    """Settings of the attack that a grid varies."""


class Attacks:
    """A config's attacks by name, each resolved once for a threat model and so many classes."""

    def __init__(
        self, entries: Mapping[str, AttackEntry], named: NamedNeeds, data: Path | None = None
    ) -> None:
        self.entries, self._named, self._data = entries, named, data
        self._resolved: dict[tuple[str, ThreatModel, Changes, int], Evaluation] = {}
        self._on_cells: dict[tuple[str, str, Changes], tuple[Evaluation, dict[str, Need]]] = {}
        self._checked: set[tuple[Evaluation, str]] = set()

    def on(self, cell: Cell, name: str, changes: Changes = ()) -> Evaluation:
        """An attack with its settings for a cell, of which a grid may vary some.

        Raises:
            ValueError: it asks for the model of a cell that cannot be.
        """
        attack = self._in_ball(cell, name, changes)
        return self._with_cells(attack, cell, name, changes)[0] if attack.uses_cells else attack

    def sources(self, asked: Asked) -> list[Cell]:
        """The cells whose models an attack uses.

        Raises:
            ValueError: one cannot be.
        """
        cell, _, name, changes = asked
        attack = self._in_ball(cell, name, changes)
        if not attack.uses_cells:
            return []
        _, needs = self._with_cells(attack, cell, name, changes)
        return [need.cell for need in needs.values()]

    def _in_ball(self, cell: Cell, name: str, changes: Changes) -> Evaluation:
        classes = DATA_SETS[cell.dataset].classes
        key = name, cell.threat_model, self.entries[name].changes_among(changes), classes
        if key not in self._resolved:
            attack = self.entries[name].resolve(cell.threat_model, changes)
            self._resolved[key] = attack.for_classes(classes)
        return self._resolved[key]

    def _with_cells(
        self, attack: Evaluation, cell: Cell, name: str, changes: Changes
    ) -> tuple[Evaluation, dict[str, Need]]:
        """The attack with the names of the cells that it asks for, and these."""
        key = name, cell.name, self.entries[name].changes_among(changes)
        if key not in self._on_cells:
            named = self._named.attack(attack, cell.dataset, cell.threat_model)
            self._on_cells[key] = resolved_on(named, cell), needed_by(named, cell)
        return self._on_cells[key]

    def check(self, asked: Asked, where: str) -> None:
        """Refuse what cannot be made, before anything is trained for it.

        Raises:
            UserError: names the attack, and `where` in the config it is asked for.
        """
        cell, name = asked.cell, asked.attack
        try:
            attack = self.on(cell, name, asked.changes)
            if (attack, cell.dataset) not in self._checked:
                check_attack(attack, cell.dataset, self._data)
                self._checked.add((attack, cell.dataset))
            changes = self.entries[name].changes_among(asked.changes)
            check_norm(self.entries[name], attack, cell.threat_model, changes)
            check_reach(attack, changes)
        except ValidationError as error:
            (line, *_) = explain(error, f"attacks.{name}")
            raise UserError(f"{line}, which {where} asks for") from None
        except ValueError as error:
            raise UserError(f"attacks.{name}: {error}, which {where} asks for") from None

    @property
    def resolved(self) -> Iterator[tuple[str, Changes, Evaluation]]:
        """All that were asked for: name, what a grid varies, and settings."""
        for (name, _, changes, _), attack in self._resolved.items():
            yield name, changes, attack
