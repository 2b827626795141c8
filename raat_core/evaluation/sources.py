"""The models of other cells that an attack uses, from the folders beside the attacked cell's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.evaluations import Evaluation
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import read_cell
from raat_core.cells.transfer import SourceCell, resolved_on, sources_of
from raat_core.cells.weights import read_weights
from raat_core.errors import UserError

if TYPE_CHECKING:
    from raat_core.cells.cell import Cell
    from raat_core.cells.weights import Weights

Sources = dict[str, dict[str, str]]
"""By setting: `cell`, `checkpoint` and `weights_sha256`."""


def of_cell(evaluation: Evaluation, cell: Cell) -> Evaluation:
    """An attack on a cell: as it is on so many classes, with the names of the cells it asks for.

    Raises:
        UserError: one cannot be.
    """
    try:
        classes = DATA_SETS[cell.dataset].classes
        return resolved_on(evaluation.for_classes(classes), cell)
    except ValueError as error:
        raise UserError(f"attack '{evaluation.kind}': {error}") from None


def described_sources(folder: CellFolder, evaluation: Evaluation) -> Sources:
    """What stands in the record of the cells that an attack uses; needs no torch.

    Raises:
        UserError: one is not trained, or its manifest is damaged.
    """
    return {
        setting: {
            "cell": source.cell,
            "checkpoint": source.checkpoint,
            "weights_sha256": _manifest(folder, evaluation, source)["weights_sha256"][
                source.checkpoint
            ],
        }
        for setting, source in sources_of(evaluation).items()
    }


def as_metadata(sources: Sources) -> dict[str, Any]:
    """`{"sources": ...}`; nothing if there are none."""
    return {"sources": sources} if sources else {}


def read_sources(folder: CellFolder, evaluation: Evaluation) -> dict[str, tuple[Cell, Weights]]:
    """The cells that an attack uses, by setting, with their weights.

    Raises:
        UserError: one is not trained, or its files are damaged.
    """
    found = {}
    for setting, source in sources_of(evaluation).items():
        beside = _beside(folder, source)
        found[setting] = read_cell(beside), read_weights(beside, source.checkpoint)
    return found


def _manifest(folder: CellFolder, evaluation: Evaluation, source: SourceCell) -> dict[str, Any]:
    beside = _beside(folder, source)
    if not beside.manifest.exists():
        raise UserError(
            f"attack '{evaluation.kind}' uses the model of cell {source.cell}, which is not "
            f"trained; train it first, in {beside.path}"
        )
    return read_manifest(beside)


def _beside(folder: CellFolder, source: SourceCell) -> CellFolder:
    return CellFolder(folder.path.parent / source.cell)
