"""Ctrl-C in the head process: put off while something is written down, and never lost."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

AGAIN_AFTER_SECONDS = 0.05


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C until the end of the block: what was done must be known.

    Processes started in the block do not get it, either. Where other threads run, the signal's
    handler has to be an `Interrupt`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGQUIT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupt:
    """A signal's handler: KeyboardInterrupt, when it will be heard.

    In the middle of a line of the log it would not be: Snakemake's handlers of logs ignore it.
    """

    def __init__(self) -> None:
        self._again: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, as Python calls handlers.

        Raises:
            KeyboardInterrupt: now; or else the signal comes again.
        """
        if self._again is not None:
            self._again.cancel()
        if number in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            # Another thread took it. This one gets it when it unblocks it.
            signal.pthread_kill(threading.get_ident(), number)
        elif _writes_to_the_log(frame):
            arguments = (threading.get_ident(), number)
            self._again = threading.Timer(AGAIN_AFTER_SECONDS, signal.pthread_kill, arguments)
            self._again.daemon = True
            self._again.start()
        else:
            raise KeyboardInterrupt


def _writes_to_the_log(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is logging.Handler.handle.__code__:
            return True
        frame = frame.f_back
    return False
