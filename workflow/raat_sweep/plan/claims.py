"""Claims of a comparison, with the rows that their patterns stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raat_core.errors import UserError
from raat_core.validation import suggest
from raat_sweep.config.claims import SIDES, Claim, ClaimSide, Side
from raat_sweep.config.config import Config
from raat_sweep.plan.points import Part


@dataclass(frozen=True)
class PlannedClaim:
    """A claim, and the part of an item that each of its sides is, with its rows alone."""

    claim: Claim
    """With the rows that its patterns stand for."""
    parts: Mapping[Side, Part]
    """Named `<number of the claim>.left` and `.right`."""

    def described(self, config: Config) -> dict[str, Any]:
        """As plain data: what the claim says, its sides' rows, and where they are if it differs."""
        claim = self.claim
        rows: dict[str, list[str]] = {side: list(self.claim.side(side).rows) for side in SIDES}
        places = {side: _in_words(claim.side(side)) for side in SIDES}
        several = places["left"] != places["right"]
        derived = config.derived.get(claim.metric)
        return {
            **claim.model_dump(mode="json", include=set(_PLAIN)),
            **rows,
            **{f"{side}_in": places[side] if several else "" for side in SIDES},
            "kind": derived.kind if derived else "mean",
        }


_PLAIN = ("claim", "source", "metric", "relation", "margin")


def _in_words(side: ClaimSide) -> str:
    return f"{side.item} ({side.panel})" if side.panel else str(side.item)


def plan_claim(
    claim: Claim, number: int, where: str, config: Config, parts: Mapping[str, Sequence[Part]]
) -> PlannedClaim:
    """A claim with the cells of its rows, and the attacks on them.

    Args:
        claim: as the config has it, with patterns.
        number: its own, from 0.
        where: its place in the config.
        config: the whole.
        parts: of the tables and figures, by name.

    Raises:
        UserError: there is no such row, or a row is compared with itself.
    """
    attacks = config.attacks_of([claim.metric])
    sides: dict[str, ClaimSide] = {}
    needed: dict[Side, Part] = {}
    for side, asked in claim.sides.items():
        part = _part_about(asked, parts)
        known = list(dict.fromkeys(point.row["method"] for point in part.points))
        rows = tuple(_matching(asked.rows, known, f"{where}.{side}"))
        sides[side] = asked.model_copy(update={"rows": rows})
        points = [point for point in part.points if point.row["method"] in rows]
        needed[side] = replace(part, name=f"{number}.{side}", points=points, attacks=attacks)
    _refuse_common_rows(needed["left"], needed["right"], where)
    return PlannedClaim(claim.model_copy(update=sides), needed)


def _matching(patterns: Sequence[str], known: Sequence[str], where: str) -> Iterator[str]:
    for pattern in patterns:
        expression = ".*".join(map(re.escape, pattern.split("*")))
        found = [pattern] if pattern in known else []
        found = found or [label for label in known if re.fullmatch(expression, label)]
        if not found:
            raise UserError(f"{where} = '{pattern}'{suggest(pattern, known)}")
        yield from found


def _refuse_common_rows(left: Part, right: Part, where: str) -> None:
    """Refuse to compare a cell's checkpoint with itself, in one item or in two.

    Under an attack with other settings it is another row.
    """
    if left.checkpoint != right.checkpoint:
        return
    others = {(point.cell.name, point.changes) for point in right.points}
    for point in left.points:
        if (point.cell.name, point.changes) in others:
            raise UserError(
                f"{where}: '{point.row['method']}' is on both sides; a row is compared with others"
            )


def _part_about(side: ClaimSide, parts: Mapping[str, Sequence[Part]]) -> Part:
    """The table or panel that a side's rows are in."""
    (part,) = (p for p in parts[str(side.item)] if p.name == (side.panel or ""))
    return part
