"""`spec.json`: which cell a folder is of."""

from __future__ import annotations

from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import sealed_manifest
from raat_core.errors import UserError
from raat_core.files.checksums import read_json, write_json
from raat_core.validation import parse


def write_spec(folder: CellFolder, cell: Cell) -> None:
    """Store the whole spec; a folder that holds another cell's is refused.

    Raises:
        UserError: the folder holds another spec or a damaged one, or cannot be written.
    """
    if not folder.spec.exists():
        write_json(folder.spec, cell.to_json())
    elif read_cell(folder) != cell:
        raise UserError(
            f"{folder.path} holds another cell: see {folder.spec}; if that file is damaged, "
            f"remove it and give the same command again"
        )


def read_cell(folder: CellFolder) -> Cell:
    """The cell of a folder; a finished one's as the manifest has it, under its checksum.

    Raises:
        UserError: the spec is missing, damaged or invalid.
    """
    kept = _cell_in_manifest(folder)
    try:
        found = parse(Cell, read_json(folder.spec), str(folder.spec))
        if kept is None or found == kept:
            return found
        problem = f"{folder.spec} is damaged: it is not the spec in {folder.manifest.name}"
    except UserError as error:
        if kept is None:
            advice = "remove it and give the same command again" if folder.spec.exists() else ""
            raise UserError("; ".join(filter(None, [str(error), advice]))) from error
        problem = str(error)
    print(f"warning: {problem}; the copy in {folder.manifest} is used", flush=True)
    return kept


def _cell_in_manifest(folder: CellFolder) -> Cell | None:
    """The copy of the spec that the manifest of a finished training holds."""
    if not folder.manifest.exists():
        return None
    spec = sealed_manifest(folder).get("spec")
    return None if spec is None else parse(Cell, spec, str(folder.manifest))
