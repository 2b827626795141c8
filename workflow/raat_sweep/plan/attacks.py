"""The attacks of a config, in the balls of cells."""

from __future__ import annotations

from collections.abc import Mapping

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation, check_attack
from raat_core.errors import UserError
from raat_core.specs.threat_model import ThreatModel
from raat_sweep.config.attacks import AttackEntry


class Attacks:
    """A config's attacks by name; each is resolved once for a threat model."""

    def __init__(self, entries: Mapping[str, AttackEntry]) -> None:
        self.entries = entries
        self._resolved: dict[tuple[str, ThreatModel], Evaluation] = {}

    def on(self, cell: Cell, name: str) -> Evaluation:
        """An attack with its settings for a cell."""
        key = name, cell.threat_model
        if key not in self._resolved:
            self._resolved[key] = self.entries[name].resolve(cell.threat_model)
        return self._resolved[key]

    def check(self, cell: Cell, name: str, where: str) -> None:
        """Refuse what cannot be made, before anything is trained for it.

        Raises:
            UserError: names the attack, and `where` in the config it is asked for.
        """
        try:
            check_attack(self.on(cell, name), cell.dataset)
        except ValueError as error:
            raise UserError(f"attacks.{name}: {error}, which {where} asks for") from None
