"""What became of every test image, so that what is combined or compared is of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.evaluation.records import Integers, Record
from raat_core.interface.attack import SHARE_RIGHT
from raat_sweep.numbers.combining import Correct, Scores, accuracy_of, scores_of

OTHER_WEIGHTS, OTHER_IMAGES = "record of other weights", "record of other images"
"""Reasons of gaps."""
BETWEEN_RECORDS = " "
"""Between the names of the records that a derived number is made of."""


@dataclass(frozen=True)
class Outcomes:
    """Which test images withstood one or several attacks on one checkpoint of one cell."""

    data: str | None
    """SHA-256 of the data set, where the record says it."""
    index: Integers
    """(N,) positions in the test set."""
    label: Integers
    """(N,) true classes."""
    correct: Correct
    """(P, N) by attack and image."""

    def on(self, index: Integers) -> Outcomes:
        """Those of the images `index` alone, all of which have to be here."""
        if index is self.index:
            return self
        order = np.argsort(self.index, kind="stable")
        places = order[np.searchsorted(self.index, index, sorter=order)]
        return Outcomes(self.data, index, self.label[places], self.correct[:, places])

    def accuracy(self, kind: str = "mean") -> float:
        """In percent; NaN without images. See `combining.accuracy_of`."""
        return accuracy_of(kind, self.correct)

    def scores(self, kind: str = "mean") -> Scores:
        """(N,) each image's part in `accuracy`, in percent; see `combining.scores_of`."""
        return scores_of(kind, self.correct)


def common_images(several: Sequence[Outcomes]) -> Integers:
    """(N,) ascending positions of the images that all have; none if data sets differ.

    A record that does not say which data set it is of is taken to be of the others'.
    """
    first, *others = several
    index = first.index
    if len({each.data for each in several} - {None}) > 1:
        return index[:0]
    for other in others:
        # Equal positions are one array, see `Records`.
        if other.index is not index:
            index = np.intersect1d(index, other.index, assume_unique=True)
    return index


def together(several: Sequence[Outcomes]) -> Outcomes:
    """All attacks, over the images that all of them have."""
    index = common_images(several)
    known = [each.data for each in several if each.data is not None]
    chosen = [each.on(index) for each in several]
    correct = np.concatenate([each.correct for each in chosen])
    return Outcomes(known[0] if known else None, index, chosen[0].label, correct)


class Records:
    """The records of a folder of cells; each is read once, and what numbers are made of is kept."""

    def __init__(self, cells: Path) -> None:
        self.cells = cells
        self._manifests: dict[str, dict[str, Any]] = {}
        self._outcomes: dict[tuple[str, str], Outcomes] = {}
        self._metadata: dict[tuple[str, str], dict[str, Any]] = {}
        self._equal: dict[bytes, Integers] = {}
        """Positions and classes, which many records share."""

    def folder(self, cell: str) -> CellFolder:
        """Of a cell by name."""
        return CellFolder(self.cells / cell)

    def manifest(self, cell: str) -> dict[str, Any]:
        """What a cell's manifest says of weights and data.

        Raises:
            UserError: as `read_manifest`.
        """
        if cell not in self._manifests:
            whole = read_manifest(self.folder(cell))
            kept = ("weights_sha256", "data_sha256", "test_size")
            self._manifests[cell] = {key: whole.get(key) for key in kept}
        return self._manifests[cell]

    def mismatch(self, cell: str, metadata: dict[str, Any]) -> str:
        """Why a record is none of its cell as it is now; empty if it is.

        What manifest or record do not say, as older ones do not, is not compared.

        Raises:
            UserError: as `read_manifest`.
        """
        manifest = self.manifest(cell)
        if metadata["weights_sha256"] != manifest["weights_sha256"][metadata["checkpoint"]]:
            return OTHER_WEIGHTS
        for key in ("data_sha256", "test_size"):
            if None not in (pair := (metadata.get(key), manifest[key])) and pair[0] != pair[1]:
                return OTHER_IMAGES
        for source in metadata.get("sources", {}).values():
            # The model of another cell that the attack used.
            if self.folder(source["cell"]).manifest.exists():
                now = self.manifest(source["cell"])["weights_sha256"][source["checkpoint"]]
                if now != source["weights_sha256"]:
                    return OTHER_WEIGHTS
        return ""

    def read(self, cell: str, record: str) -> Record:
        """A whole record; its metadata and what became of its images are kept.

        Raises:
            UserError: as `Record.read`.
        """
        found = Record.read(self.folder(cell).record(record))
        index, label = (self._equal.setdefault(a.tobytes(), a) for a in (found.index, found.label))
        data = found.metadata.get("data_sha256")
        correct = found.right if SHARE_RIGHT in found.details else found.correct
        self._outcomes[cell, record] = Outcomes(data, index, label, correct[np.newaxis])
        self._metadata[cell, record] = found.metadata
        return found

    def metadata(self, cell: str, record: str) -> dict[str, Any]:
        """What a record says of itself.

        Raises:
            UserError: as `Record.read`.
        """
        if (cell, record) not in self._metadata:
            self.read(cell, record)
        return self._metadata[cell, record]

    def outcomes(self, cell: str, record: str) -> Outcomes:
        """What became of the images of a record, or of those that several have in common.

        Args:
            cell: by name.
            record: its name; several names have blanks between them.

        Raises:
            UserError: as `Record.read`.
        """
        names = record.split(BETWEEN_RECORDS)
        for name in names:
            if (cell, name) not in self._outcomes:
                self.read(cell, name)
        several = [self._outcomes[cell, name] for name in names]
        return several[0] if len(several) == 1 else together(several)
