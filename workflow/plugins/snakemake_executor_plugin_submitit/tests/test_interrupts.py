"""Ctrl-C in the middle of the log, and while something is done that must be known."""

from __future__ import annotations

import io
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from snakemake.logging import ColorizingTextHandler

from snakemake_executor_plugin_submitit.interrupts import Interrupt, uninterrupted


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, Interrupt())
    yield
    signal.signal(signal.SIGINT, before)


class Interrupting(io.StringIO):
    """A terminal at which Ctrl-C is pressed when the first line appears."""

    pressed = False

    def write(self, text: str) -> int:
        if not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def log_two_lines(stream: io.StringIO) -> None:
    handler = ColorizingTextHandler(nocolor=True, stream=stream)
    for line in ("one", "two"):
        handler.handle(logging.makeLogRecord({"msg": line}))
        time.sleep(0.2)


def test_snakemake_swallows_it() -> None:
    """Why there is an `Interrupt`; where this fails, it may go."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = Interrupting()
    log_two_lines(stream)
    assert "two" in stream.getvalue()


def test_it_comes_after_the_line() -> None:
    stream = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        log_two_lines(stream)
    assert stream.getvalue() == "one\n"


def test_elsewhere_it_comes_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_second_one_replaces_the_one_put_off() -> None:
    """The first would otherwise come once more, when the second has long been heard."""
    handler = ColorizingTextHandler(nocolor=True, stream=Interrupting())
    handler.handle(logging.makeLogRecord({"msg": "one"}))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    time.sleep(0.2)


def test_it_waits_for_the_end_of_the_block_where_other_threads_take_it() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    done = []

    def interrupted() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            done.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        over.set()
        thread.join()
    assert done
