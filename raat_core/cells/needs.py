"""The folders of cells that another cell needs, which lie beside its own; needs no torch."""

from __future__ import annotations

import shlex

from raat_core.cells.cell import Cell, Need
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import write_spec
from raat_core.errors import UserError


def needed_folder(folder: CellFolder, need: Need) -> CellFolder:
    """Where a cell that is needed lies, from the folder of the cell that needs it."""
    return CellFolder(folder.path.parent / need.cell.name)


def require_needs(folder: CellFolder, cell: Cell) -> None:
    """Refuse to train a cell before those that it needs; their specs are left in their folders.

    Raises:
        UserError: one is not trained (says how to train it), or was by another version.
    """
    for setting, need in cell.needs.items():
        needed = needed_folder(folder, need)
        if not needed.manifest.exists():
            write_spec(needed, need.cell)
            spec, place = (shlex.quote(str(path)) for path in (needed.spec, needed.path))
            raise UserError(
                f"{setting} needs cell {need.cell.name}, which is not trained; train it first, "
                f"with the same plugins: python -m raat_core train {spec} --folder {place}"
            )
        found = read_manifest(needed)["digest"]
        if found != need.cell.digest:
            raise UserError(
                f"{setting} needs cell {need.cell.name}, but what lies in {needed.path} was "
                f"trained as {found}, by another version of its method or of this program"
            )
