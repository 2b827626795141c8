"""What was timed in a results folder: its finished cells, and the files of `measure`.

Others write these files at the same time: none is trusted to be there or whole.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_history
from raat_core.cells.spec import read_cell
from raat_core.cost.flop import (
    Accuracies,
    assumed_accuracies,
    evaluation_flop,
    note_counted,
    operations_are_assumed,
    training_flop,
)
from raat_core.cost.timing import (
    Counted,
    Kind,
    hardware_name,
    kind_of,
    kind_of_training,
    read_timings,
)
from raat_core.errors import UserError
from raat_core.files.checksums import read_json, read_metadata
from raat_core.interface.registry import BUILT_IN_ATTACKS
from raat_sweep.cost.throughput import Throughput
from raat_sweep.cost.timed_work import Timed
from raat_sweep.results.listing import names_in

MOST_CELLS = 500
"""So many finished cells, evenly spread, say how fast hardware is; more would not say it better."""
_evaluation: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)


def read_throughput(results: Path, cells: Mapping[str, Cell], most: int = MOST_CELLS) -> Throughput:
    """What the files in a results folder say: of finished cells, and in `throughput/`.

    Args:
        results: the folder.
        cells: known ones by name; others in the folder are read from their specs.
        most: so many finished cells, evenly spread, are read.
    """
    _note_counted(results, cells)
    measured, warnings = _timed_by_measure(results / "throughput")
    timed: list[Timed] = []
    accuracies: dict[str, Accuracies] = {}
    cell_folders = [CellFolder(results / "cells" / name) for name in names_in(results / "cells")]
    for folder in _spread([folder for folder in cell_folders if folder.manifest.exists()], most):
        name = folder.path.name
        try:
            manifest = read_json(folder.manifest)
            cell = cells.get(name) or read_cell(folder)
            trained, final = _accuracies(cell, folder, manifest)
            accuracies[name] = final
            timed += _timed_training(cell, manifest, trained)
            timed += _timed_attacks(cell, folder, final)
        except (UserError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            continue  # Damaged, or of another version.
    return Throughput([*timed, *measured], accuracies, tuple(warnings))


def _note_counted(results: Path, cells: Mapping[str, Cell]) -> None:
    """Of architectures that do not say what they cost: what a finished cell of each counted."""
    for name, cell in cells.items():
        shape = DATA_SETS[cell.dataset].image_shape
        manifest = CellFolder(results / "cells" / name).manifest
        if not operations_are_assumed(cell.architecture, shape) or not manifest.exists():
            continue
        with contextlib.suppress(UserError, LookupError, TypeError, ValueError):
            counted = Counted.model_validate(read_json(manifest)["operations"])
            note_counted(cell.architecture, shape, counted.operations)


def read_accuracies(cell: Cell, folder: CellFolder) -> Accuracies | None:
    """Of a trained cell's best checkpoint on the split that chose it; None if it does not say."""
    try:
        return _accuracies(cell, folder, read_json(folder.manifest))[1]
    except (UserError, LookupError, TypeError, ValueError):
        return None


def _spread(folders: Sequence[CellFolder], most: int) -> list[CellFolder]:
    step = max(1.0, len(folders) / most)
    return [folders[int(index * step)] for index in range(min(most, len(folders)))]


def _accuracies(
    cell: Cell, folder: CellFolder, manifest: Mapping[str, Any]
) -> tuple[Accuracies, Accuracies]:
    """Means over the epochs, and of the best one; shares, not percent.

    The robust one is assumed where training did not look at it. Of given weights there is a clean
    accuracy.
    """
    if not cell.trains:
        clean = manifest["best"]["accuracy"] / 100
        own = Accuracies(clean, min(clean, assumed_accuracies(cell.dataset).robust))
        return own, own
    header, rows = read_history(folder)
    epoch, clean, robust = map(header.index, ("epoch", "clean_accuracy", "robust_accuracy"))
    assumed = 100 * assumed_accuracies(cell.dataset).robust
    by_clean = cell.selection.by == "clean"
    evaluated = {
        int(row[epoch]): Accuracies(
            float(row[clean]) / 100,
            (min(assumed, float(row[clean])) if by_clean else float(row[robust])) / 100,
        )
        for row in rows
        if row[clean] and (row[robust] or by_clean)
    }
    means = Accuracies(
        statistics.mean(one.clean for one in evaluated.values()),
        statistics.mean(one.robust for one in evaluated.values()),
    )
    return means, evaluated[manifest["best"]["epoch"]]


def _timed_training(
    cell: Cell, manifest: Mapping[str, Any], accuracies: Accuracies
) -> Iterator[Timed]:
    """Nothing if it moved from one hardware to another, or nothing was trained."""
    names = {hardware_name(session) for session in manifest["sessions"]}
    if len(names) == 1:
        flop, seconds = training_flop(cell, accuracies), float(manifest["train_seconds"])
        kind = kind_of_training(cell.precision)
        yield from _timed(cell, manifest["sessions"][-1], kind, flop, seconds)


def _timed_attacks(cell: Cell, folder: CellFolder, accuracies: Accuracies) -> Iterator[Timed]:
    for path in sorted((folder.path / "records").glob("*.safetensors")):
        try:
            metadata = read_metadata(path)
            evaluation = _evaluation.validate_python(metadata["attack"])
            hardware, seconds = metadata["hardware"], float(metadata["seconds"])
        except (UserError, LookupError, ValidationError, TypeError, ValueError):
            continue
        if evaluation.kind not in BUILT_IN_ATTACKS:
            continue  # What others cost is often a guess: it would spoil the rate of all attacks.
        flop = evaluation_flop(cell, evaluation, accuracies)
        yield from _timed(cell, hardware, kind_of(evaluation), flop, seconds)


def _timed(
    cell: Cell, hardware: Mapping[str, Any], kind: Kind, flop: float, seconds: float
) -> Iterator[Timed]:
    """Nothing if the time is too short to be known, or the hardware is not told."""
    name = hardware_name(hardware)
    if name and math.isfinite(seconds) and seconds > 0:
        shape = DATA_SETS[cell.dataset].image_shape
        on_gpu = hardware.get("device") == "cuda"
        yield Timed(name, on_gpu, cell.architecture, shape, kind, flop, seconds, cell.name)


def _timed_by_measure(folder: Path) -> tuple[list[Timed], list[str]]:
    timed, warnings = [], []
    for name in names_in(folder):
        if not name.endswith(".json"):
            continue
        try:
            file = read_timings(folder / name)
        except UserError as error:
            warnings.append(f"left out: {str(error).splitlines()[0]}")
            continue
        for timing in file.timings:
            model = timing.architecture, timing.image_shape
            if timing.operations is not None and operations_are_assumed(*model):
                note_counted(*model, timing.operations.operations)
        hardware, on_gpu = hardware_name(file.hardware), file.hardware.get("device") == "cuda"
        timed += [
            Timed(
                hardware=hardware,
                on_gpu=on_gpu,
                architecture=timing.architecture,
                image_shape=timing.image_shape,
                kind=timing.kind,
                flop=timing.flop,
                seconds=timing.seconds,
                cell="",
            )
            for timing in file.timings
        ]
    return timed, warnings
