"""What a check found of one extension, and how it is told. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from raat_core.validation import one_line

Level: TypeAlias = Literal["wrong", "needs", "hint"]
"""wrong: it has to be mended. needs: it could not be checked without more input. hint: it works."""
Fault: TypeAlias = Literal[
    "fails", "refuses", "settings", "state", "shared-state", "not-repeatable", "waits", "draws",
    "twice", "views", "smoothing", "passes", "fast-paths", "order", "strength", "model",
    "logits", "batch", "gradient", "precision", "operations", "buffers", "checksum", "pixels",
    "labels",
]  # fmt: skip
"""What a finding is about, for programs."""


@dataclass(frozen=True)
class Finding:
    """One thing that is to be said of an extension."""

    level: Level
    fault: Fault
    text: str
    """What is the matter, and what to do."""


@dataclass
class Report:
    """All that was found of one extension."""

    title: str
    """`method 'mine', version 1`."""
    facts: list[str] = field(default_factory=list)
    """What it is, and what was measured."""
    passed: list[str] = field(default_factory=list)
    """What was found to be right."""
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: Level, fault: Fault, text: str) -> None:
        """Note a finding; the same one is told once."""
        finding = Finding(level, fault, one_line(text))
        if finding not in self.findings:
            self.findings.append(finding)

    def wrong(self, fault: Fault, text: str) -> None:
        """Note what has to be mended."""
        self.add("wrong", fault, text)

    def hint(self, fault: Fault, text: str) -> None:
        """Note what may be meant as it is."""
        self.add("hint", fault, text)

    def needs(self, fault: Fault, text: str) -> None:
        """Note what has to be given before more can be checked."""
        self.add("needs", fault, text)

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be mended."""
        return any(finding.level == "wrong" for finding in self.findings)

    @property
    def is_incomplete(self) -> bool:
        """Whether something was not checked for want of input."""
        return any(finding.level == "needs" for finding in self.findings)

    @property
    def lines(self) -> list[str]:
        """The report, for a terminal."""
        told = [f"{finding.level}: {finding.text}" for finding in self.findings]
        if not self.is_wrong and not self.is_incomplete:
            told.insert(0, f"ok: {'; '.join(self.passed)}")
        return [self.title, *(f"  {line}" for line in [*self.facts, *told])]


def exit_code(reports: Iterable[Report]) -> int:
    """0 if all is well, 1 if something is wrong, 2 if something could not be checked."""
    found = list(reports)
    if any(report.is_wrong for report in found):
        return 1
    return 2 if any(report.is_incomplete for report in found) else 0
