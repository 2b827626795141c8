"""How the best checkpoints of an item are chosen, in words."""

from __future__ import annotations

from raat_core.cells.selection import Selection
from raat_sweep.plan.items import PlannedItem


def selections_of(item: PlannedItem) -> list[tuple[Selection, str]]:
    """The ways in which an item's best checkpoints are chosen, and of which methods: ` of RAAT`.

    Empty words if there is one way.
    """
    labels: dict[str, dict[str, None]] = {}
    ways: dict[str, Selection] = {}
    for part in item.parts:
        for point in part.points:
            key = point.cell.selection.model_dump_json()
            ways.setdefault(key, point.cell.selection)
            labels.setdefault(key, {})[point.label] = None
    several = len(ways) > 1
    return [(way, f" of {', '.join(labels[key])}" if several else "") for key, way in ways.items()]


def best_in_short(item: PlannedItem) -> str:
    """For the caption of a table: `Best checkpoint by PGD-10 on the test split`."""
    parts = []
    for way, whose in selections_of(item):
        by = f"by {way.robust_label or way.chosen_by} on the {way.split} split"
        parts.append(f"best checkpoint{whose} {'is the last' if way.by == 'last' else by}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def best_in_full(item: PlannedItem) -> str:
    """For the protocol: `the best is chosen by PGD-10 accuracy on the test split, ...`."""
    parts = []
    for way, whose in selections_of(item):
        every = "every epoch" if way.every == 1 else f"every {way.every} epochs"
        chosen = f"chosen by {way.chosen_by} on the {way.split} split, looked at after {every}"
        parts.append(f"the best{whose} is {'the last' if way.by == 'last' else chosen}")
    return "; ".join(parts)


def robust_title(item: PlannedItem) -> str:
    """What the robust accuracies after epochs are, for labels of axes: `PGD-10`."""
    titles = dict.fromkeys(way.robust_label for way, _ in selections_of(item))
    return " or ".join(filter(None, titles)) or "robust"
