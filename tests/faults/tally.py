"""What the suite did to the program and how that ended, summed up over all tests."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

KILLS = int(os.environ.get("FAULTS_KILLS", "20"))
"""About how many SIGKILLs all tests together send: a short suite; `make faults` sets more."""
THOROUGH = 100
"""From so many kills on, tests run that are too long for every change."""
SEED = int(os.environ.setdefault("FAULTS_SEED", str(secrets.randbelow(10**6))))
"""Of all random moments; inherited by the processes that share the tests out."""
PROPERTY = "faults"


def moments(name: str) -> random.Random:
    """A test's own random numbers."""
    return random.Random(f"{SEED} {name}")


def share(percent: float) -> int:
    """So much of all kills, at least two: one that hits early and one that hits late."""
    return max(2, round(KILLS * percent / 100))


@dataclass
class Tally:
    """The faults of one kind."""

    kind: str
    injected: int = 0
    recovered: int = 0
    """After which the same command came to its end."""
    identical: int = 0
    """After which it had come to the numbers of an undisturbed run."""
    messages: int = 0
    """Which were named in one line with the file, or what to do."""

    def plain(self) -> dict[str, Any]:
        """As plain data, which travels between processes."""
        return asdict(self)

    def overcome(self, number: int = 1, *, named: bool = False) -> None:
        """Note faults after which all was well."""
        self.recovered += number
        self.identical += number
        self.messages += number * named


def summed(found: Iterable[Mapping[str, Any]]) -> list[Tally]:
    """One tally per kind, sorted, and the sum of all."""
    kinds: dict[str, Tally] = {}
    total = Tally("all")
    for one in found:
        for tally in (kinds.setdefault(one["kind"], Tally(one["kind"])), total):
            tally.injected += one["injected"]
            tally.recovered += one["recovered"]
            tally.identical += one["identical"]
            tally.messages += one["messages"]
    return [*sorted(kinds.values(), key=lambda tally: tally.kind), total]


def lines(tallies: Iterable[Tally]) -> list[str]:
    """A table for the end of the tests' output."""
    head = f"{'':<36}{'injected':>10}{'recovered':>11}{'identical':>11}{'named':>7}"
    rows = [
        f"{t.kind:<36}{t.injected:>10}{t.recovered:>11}{t.identical:>11}{t.messages:>7}"
        for t in tallies
    ]
    return [head, *rows, f"seed: FAULTS_SEED={SEED} draws the same moments again"]
