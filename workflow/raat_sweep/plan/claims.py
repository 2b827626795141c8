"""Claims of a comparison, with the rows that their patterns stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from raat_core.errors import UserError
from raat_core.validation import suggest
from raat_sweep.config.items import Claim
from raat_sweep.plan.points import Part


def resolve_claim(claim: Claim, where: str, parts: Mapping[str, Sequence[Part]]) -> Claim:
    """A claim whose sides name rows of the table or panel that it is about.

    Args:
        claim: as the config has it, with patterns.
        where: its place in the config.
        parts: of the tables and figures, by name.

    Raises:
        UserError: there is no such row.
    """
    methods = [point.row["method"] for point in _part_about(claim, parts).points]
    known = list(dict.fromkeys(methods))
    sides = {
        side: tuple(_matching(getattr(claim, side), known, f"{where}.{side}"))
        for side in ("left", "right")
    }
    return claim.model_copy(update=sides)


def _matching(patterns: Sequence[str], known: Sequence[str], where: str) -> Iterator[str]:
    for pattern in patterns:
        expression = ".*".join(map(re.escape, pattern.split("*")))
        found = [pattern] if pattern in known else []
        found = found or [label for label in known if re.fullmatch(expression, label)]
        if not found:
            raise UserError(f"{where} = '{pattern}'{suggest(pattern, known)}")
        yield from found


def refuse_common_rows(claim: Claim, where: str) -> None:
    """Refuse a resolved claim that compares a row with itself.

    Raises:
        UserError: names the row.
    """
    both = sorted(set(claim.left) & set(claim.right))
    if both:
        raise UserError(f"{where}: '{both[0]}' is on both sides; a row is compared with others")


def part_of_claim(
    claim: Claim, name: str, attacks: tuple[str, ...], parts: Mapping[str, Sequence[Part]]
) -> Part:
    """What a comparison needs for a resolved claim: the cells of its rows, and the attacks."""
    part = _part_about(claim, parts)
    points = [p for p in part.points if p.row["method"] in (*claim.left, *claim.right)]
    return replace(part, name=name, points=points, attacks=attacks)


def _part_about(claim: Claim, parts: Mapping[str, Sequence[Part]]) -> Part:
    """The table or panel that a claim is about."""
    (part,) = (p for p in parts[claim.item] if p.name == (claim.panel or ""))
    return part
