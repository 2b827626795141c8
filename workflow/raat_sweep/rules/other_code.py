"""Finished cells that were made by other code of a plugin than is loaded now."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from raat_core.cells.extensions import describe, extensions_of, of_other_code
from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.files.checksums import read_json
from raat_sweep.plan.plan import Plan


def notes_on_other_code(plan: Plan) -> list[str]:
    """A line for each extension that was edited under one version since cells were trained."""
    found: Counter[str] = Counter()
    for name, cell in plan.cells.items():
        extensions = extensions_of(cell)
        manifest = CellFolder(Path(plan.config.results) / "cells" / name).manifest
        if not extensions or not manifest.exists():
            continue
        try:
            others = list(of_other_code(read_json(manifest), extensions))
        except (UserError, LookupError, TypeError):  # It is told where it is needed.
            continue
        found.update(describe(one) for one, _ in others)
    return [
        f"note: finished cells made by other code than {what}: {count}. They stay as they are; "
        f"raise its `version` to train them again"
        for what, count in found.items()
    ]
