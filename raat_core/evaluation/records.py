"""One file per attack: the outcome of every test sample, and all that qualifies it.

Nothing here needs torch, so that tables are made from records without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from raat_core.files.checksums import read_arrays, write_arrays
from raat_core.interface.attack import SHARE_RIGHT

Integers = np.ndarray[Any, np.dtype[np.int32]]
Values = np.ndarray[Any, Any]
_DETAIL = "detail."
_ADVERSARIAL = "adversarial"


@dataclass(frozen=True)
class Record:
    """What an attack did to every sample it was run on, in the order of the test set."""

    index: Integers
    """(N,) positions in the test set."""
    label: Integers
    """(N,) true classes."""
    prediction: Integers
    """(N,) classes predicted under the attack: the worst of clean and attacked, if adversarial."""
    metadata: dict[str, Any]
    """The attack, the checkpoint and its digest, versions, hardware, seconds."""
    clean: Integers | None = None
    """(N,) classes predicted without attack; None in records of older versions."""
    details: Mapping[str, Values] = field(default_factory=dict)
    """(N,) each: what else the attack says of every image."""
    adversarial: Values | None = None
    """(N, C, H, W) in [0, 1] float32, where an attack was asked to keep them; in parts alone."""

    @property
    def correct(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(N,) whether the prediction withstood the attack."""
        return np.equal(self.prediction, self.label)

    @property
    def right(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(N,) 1 or 0 as `correct`; with several versions of an image, the share that is right."""
        right: np.ndarray[Any, np.dtype[np.float64]] = np.asarray(
            self.details.get(SHARE_RIGHT, self.correct), dtype=np.float64
        )
        return right

    @property
    def accuracy(self) -> float:
        """Percent of samples that are classified correctly under the attack: the mean of `right`.

        Where it is something else than that, metadata say so as `accuracy_is`.
        """
        return 100.0 * float(self.right.mean())

    @property
    def arrays(self) -> dict[str, Values]:
        """All of them by name, as they stand in the file."""
        found: dict[str, Values] = {
            "index": self.index,
            "label": self.label,
            "prediction": self.prediction,
        }
        if self.clean is not None:
            found["clean"] = self.clean
        if self.adversarial is not None:
            found[_ADVERSARIAL] = self.adversarial
        return {**found, **{_DETAIL + name: values for name, values in self.details.items()}}

    def write(self, path: Path) -> str:
        """Write atomically; returns the checksum."""
        return write_arrays(path, self.arrays, self.metadata)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Values], metadata: dict[str, Any]) -> Record:
        """From `arrays`; others than a record's are details."""
        return cls(
            arrays["index"],
            arrays["label"],
            arrays["prediction"],
            metadata,
            arrays.get("clean"),
            {
                name.removeprefix(_DETAIL): values
                for name, values in arrays.items()
                if name.startswith(_DETAIL)
            },
            arrays.get(_ADVERSARIAL),
        )

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record.

        Raises:
            UserError: missing, truncated or damaged.
        """
        arrays, metadata, _ = read_arrays(path)
        return cls.of_arrays(arrays, metadata)


def write_whole(record: Record, path: Path) -> Record:
    """Write a whole record, and its adversarial images beside it; returns it without them.

    The images are in `images_path`, with their positions in the test set, and the record's metadata
    says their checksum as `images_sha256`.
    """
    if record.adversarial is not None:
        arrays = {"index": record.index, _ADVERSARIAL: record.adversarial}
        sha256 = write_arrays(images_path(path), arrays, {"attack": record.metadata["attack"]})
        metadata = {**record.metadata, "images_sha256": sha256}
        record = replace(record, adversarial=None, metadata=metadata)
    record.write(path)
    return record


def images_path(record: Path) -> Path:
    """Of the adversarial images that an attack kept: `images/` beside its record."""
    return record.parent / "images" / record.name
