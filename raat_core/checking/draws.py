"""Global generators: which lines of a plugin draw from them, and keeping them out of the way."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch

from raat_core.checking.places import WATCHES, Code, Place
from raat_core.randomness import derive_seed


def _generators() -> dict[str, bytes]:
    """Where the global generators stand."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": np.asarray(keys).tobytes() + repr(rest).encode(),
        "random": repr(random.getstate()).encode(),
    }


WATCHES.add(_generators.__code__)


class Draws:
    """Lines of a plugin that draw from global generators: the generators are looked at after each.

    In the block; a debugger or a meter of coverage does not see it.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        self.found: dict[tuple[str, Place | None], str] = {}
        """Which generator (torch, numpy, random), and where (None: in no line of the plugin); and
        the phase in which it was drawn from."""
        self.phase = ""
        self._place: Place | None = None
        self._states: dict[str, bytes] = {}
        self._depth = 0
        """Of the plugin's functions that call one another."""
        self._ran: dict[CodeType, set[int]] = {}
        """Lines, of each function."""

    def __enter__(self) -> Draws:
        self._before, self._begun, self._depth = sys.gettrace(), _generators(), 0
        sys.settrace(self._enter)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)
        known = {name for name, _ in self.found}
        for name, state in _generators().items():
            if state != self._begun[name] and name not in known:
                self.found[name, None] = self.phase

    def look(self) -> None:
        """Note the generators that were drawn from since the last look."""
        states = _generators()
        for name, state in states.items():
            if state != self._states[name]:
                self.found.setdefault((name, self._place), self.phase)
        self._states = states

    def not_run(self) -> list[Place]:
        """Of functions that ran, the first of consecutive lines that did not."""
        found = []
        for code, ran in self._ran.items():
            lines = sorted({line for *_, line in code.co_lines() if line is not None})
            firsts = [
                line
                for before, line in zip([None, *lines], lines, strict=False)
                if line not in ran and (before is None or before in ran)
            ]
            found += [Place(code.co_filename, line) for line in firsts]
        return sorted(found, key=lambda place: (place.file, place.line))

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in self.code.files:
            return None
        if self._depth == 0:  # What others did since is not the plugin's.
            self._states = _generators()
        self._depth += 1
        self._ran.setdefault(frame.f_code, {frame.f_code.co_firstlineno})
        return self._in_plugin

    def _in_plugin(self, frame: FrameType, event: str, argument: object) -> Any:
        self.look()
        self._ran[frame.f_code].add(frame.f_lineno)
        caller: FrameType | None = frame
        if event == "return":
            self._depth -= 1
            caller = frame.f_back
        if caller is not None and caller.f_code.co_filename in self.code.files:
            self._place = Place(caller.f_code.co_filename, caller.f_lineno)
        return self._in_plugin


GENERATORS = {
    "torch": "torch's global generator",
    "numpy": "NumPy's global generator",
    "random": "Python's `random`",
}


def seed_generators(*purpose: str | int) -> None:
    """Set the global generators to a function of a purpose."""
    seed = derive_seed(0, "check", *purpose)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """After the block the global generators stand where they stood before it.

    What was there before is out of the garbage collector's way, which every folded copy calls.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
