"""Who is told how far a training is."""

from __future__ import annotations

from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""An epoch's row of the history."""


class Reporter:
    """Is told how far a training is; this one is silent."""

    def started(self, done: int, total: int) -> None:
        """`done` of `total` steps were done by earlier sessions."""

    def step_done(self) -> None:
        """A step was done."""

    def epoch_done(self, row: Row, epochs: int) -> None:
        """An epoch was trained and evaluated: its row of the history."""
