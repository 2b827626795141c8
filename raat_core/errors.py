"""The ways in which a run ends early on purpose."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: the message is one clear line per mistake, shown without a traceback."""


class Damaged(UserError):
    """A file was read and is not what was written: cut short, or with other bits."""


class Interrupted(Exception):
    """A signal asked the process to stop; its state is saved and the same command continues it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; the state is saved")
        self.signal_number = signal_number
