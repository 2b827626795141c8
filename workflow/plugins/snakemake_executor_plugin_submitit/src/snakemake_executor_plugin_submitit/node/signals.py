"""Signals by which a job is told to save or to stop, and those that it sends to its command."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType


class Signals:
    """Notes SIGTERM and SIGUSR2 instead of acting on them."""

    def __init__(self) -> None:
        self.terminate: float | None = None
        self.save: float | None = None
        self.requeue = signal.getsignal(signal.SIGUSR2)
        """submitit's handler: writes the job anew, puts it back into the queue and exits."""

    def install(self) -> None:
        """Note them from now on."""
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGUSR2, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self.terminate = self.terminate or time.monotonic()
        else:
            self.save = self.save or time.monotonic()

    @property
    def any(self) -> bool:
        """Whether there was one."""
        return self.terminate is not None or self.save is not None


def ignore_signals() -> None:
    """In a new process: its children ignore SIGTERM and SIGUSR2, too, unless they ask for them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def signal_group(group: int, number: int) -> None:
    """Signal the processes of a group, if there are any left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
