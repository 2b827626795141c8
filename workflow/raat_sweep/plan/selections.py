"""How the best checkpoints of an item are chosen, in words."""

from __future__ import annotations

from dataclasses import dataclass

from raat_core.cells.cell import Cell
from raat_core.cells.selection import Selection
from raat_sweep.plan.items import PlannedItem

AS_GIVEN = "weights as given"
"""In place of such words where nothing is trained."""


@dataclass(frozen=True)
class Way:
    """One of the ways in which an item's best checkpoints are chosen."""

    selection: Selection
    robust_label: str
    """See `Selection.robust_label`."""
    chosen_by: str
    """See `Selection.chosen_by`."""
    whose: str
    """Of which methods: ` of RAAT`; empty if there is one way."""


def selections_of(item: PlannedItem) -> list[Way]:
    """The ways in which an item's best checkpoints are chosen; none of given weights."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    cells: dict[tuple[str, str], Cell] = {}
    for part in item.parts:
        for point in part.points:
            if not point.cell.trains:
                continue
            selection, threat = point.cell.selection, point.cell.threat_model
            key = selection.model_dump_json(), selection.robust_label(threat)
            cells.setdefault(key, point.cell)
            labels.setdefault(key, {})[point.label] = None
    several = len(cells) > 1
    return [
        Way(
            cell.selection,
            cell.selection.robust_label(cell.threat_model),
            cell.selection.chosen_by(cell.threat_model),
            f" of {', '.join(labels[key])}" if several else "",
        )
        for key, cell in cells.items()
    ]


def best_in_short(item: PlannedItem) -> str:
    """For the caption of a table: `Best checkpoint by PGD-10 on the test split`."""
    parts = []
    for way in selections_of(item):
        by = f"by {way.robust_label or way.chosen_by} on the {way.selection.split} split"
        is_last = way.selection.by == "last"
        parts.append(f"best checkpoint{way.whose} {'is the last' if is_last else by}")
    text = "; ".join(parts or [AS_GIVEN])
    return text[:1].upper() + text[1:]


def best_in_full(item: PlannedItem) -> str:
    """For the protocol: `the best is chosen by PGD-10 accuracy on the test split, ...`."""
    parts = []
    for way in selections_of(item):
        split, every = way.selection.split, way.selection.every
        looks = "every epoch" if every == 1 else f"every {every} epochs"
        chosen = f"chosen by {way.chosen_by} on the {split} split, looked at after {looks}"
        is_last = way.selection.by == "last"
        parts.append(f"the best{way.whose} is {'the last' if is_last else chosen}")
    return "; ".join(parts or [AS_GIVEN])


def robust_title(item: PlannedItem) -> str:
    """What the robust accuracies after epochs are, for labels of axes: `PGD-10`."""
    titles = dict.fromkeys(way.robust_label for way in selections_of(item))
    return " or ".join(filter(None, titles)) or "robust"
