"""Records of attacks, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raat_core.cells.folder import CellFolder
from raat_core.evaluation.records import Record
from raat_core.files.checksums import write_sealed_json


def write_record(
    cells: Path,
    cell: str,
    name: str,
    correct: Sequence[int],
    index: Sequence[int] | None = None,
    **metadata: Any,
) -> Record:
    """A record of images of class 0: 1 where the prediction is right, 0 where it is 1."""
    places = np.array(range(len(correct)) if index is None else index, dtype=np.int32)
    made = Record(
        index=places,
        label=np.zeros(len(correct), dtype=np.int32),
        prediction=1 - np.array(correct, dtype=np.int32),
        metadata={
            "attack": {"kind": "clean"},
            "checkpoint": "best",
            "weights_sha256": "best",
            **metadata,
        },
    )
    made.write(CellFolder(cells / cell).record(name))
    return made


def write_manifest(cells: Path, cell: str, **more: Any) -> None:
    """Of a cell whose weights' checksums are `best` and `last`."""
    manifest = {
        "cell": cell,
        "digest": "0",
        "finished": "2026-01-01T00:00:00+00:00",
        "train_seconds": 1.0,
        "best": {"epoch": 1, "accuracy": 50.0, "chosen_by": "PGD-10", "split": "test"},
        "weights_sha256": {"best": "best", "last": "last"},
        **more,
    }
    write_sealed_json(CellFolder(cells / cell).manifest, manifest)


def write_records_of(rows: Sequence[dict[str, Any]], cells: Path) -> None:
    """The records that measurements name: the first images are right, as their accuracy says."""
    for row in rows:
        if row["samples"]:
            right = round(row["accuracy"] * row["samples"] / 100)
            correct = [1] * right + [0] * (row["samples"] - right)
            write_record(cells, row["cell"], row["record"], correct)
