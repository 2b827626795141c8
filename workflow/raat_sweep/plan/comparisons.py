"""Comparisons: published numbers and claims, and what they need of tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raat_sweep.config.config import Config
from raat_sweep.config.items import Comparison
from raat_sweep.plan.claims import PlannedClaim, plan_claim
from raat_sweep.plan.points import Part
from raat_sweep.plan.published import Published, PublishedFiles, Row


@dataclass(frozen=True)
class ComparedTable:
    """A table whose numbers are compared with published ones."""

    part: Part
    """The table itself, with all its cells."""
    published: Published

    @property
    def rows(self) -> list[Row]:
        """The published numbers that are set against ours: of cells and metrics of the table."""
        return [
            number
            for row in self.part.rows
            for number in self.published.of(row)
            if number["metric"] in self.part.shown.metrics
        ]

    @property
    def unmatched(self) -> int:
        """How many published numbers are of cells that the sweep does not have."""
        return len(self.published.rows) - self.published.matching(self.part.rows)

    def needed(self, name: str, config: Config) -> Part:
        """The cells that a published number is of, and the attacks that such numbers are under."""
        part = self.part
        points = [point for point in part.points if self.published.matching([point.row])]
        metrics = {row["metric"] for row in self.published.rows}
        attacks = config.attacks_of(m for m in part.shown.metrics if m in metrics)
        return replace(part, name=name, points=points if attacks else [], attacks=attacks)


@dataclass(frozen=True)
class PlannedComparison:
    """What a comparison sets side by side."""

    tables: Mapping[str, ComparedTable]
    claims: Sequence[PlannedClaim]
    parts: Sequence[Part]
    """What it needs for every table, and then for the sides of every claim."""

    @property
    def published_rows(self) -> list[Row]:
        """The published numbers, as `Published.rows`, with `part`: the name of the table."""
        return [{"part": name, **row} for name, table in self.tables.items() for row in table.rows]


def plan_comparison(
    name: str,
    item: Comparison,
    config: Config,
    parts: Mapping[str, Sequence[Part]],
    files: PublishedFiles,
) -> PlannedComparison:
    """A comparison of a config.

    Args:
        name: its own.
        item: as the config has it.
        config: the whole.
        parts: of the tables and figures, by name.
        files: with published numbers.

    Raises:
        UserError: published numbers cannot be read, or as `plan_claim`.
    """
    where = f"items.{name}"
    tables = {}
    for table, path in item.published.items():
        (part,) = parts[table]
        tables[table] = ComparedTable(
            part, files.with_metrics(path, f"{where}.published.{table}", config.titles)
        )
    claims = [
        plan_claim(claim, number, f"{where}.claims.{number}", config, parts)
        for number, claim in enumerate(item.claims)
    ]
    return PlannedComparison(
        tables,
        claims,
        [
            *(compared.needed(table, config) for table, compared in tables.items()),
            *(part for claim in claims for part in claim.parts.values()),
        ],
    )
