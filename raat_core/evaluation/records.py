"""One file per attack: the outcome of every test sample, and all that qualifies it.

Nothing here needs torch, so that tables are made from records without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raat_core.files.checksums import read_arrays, write_arrays

Integers = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class Record:
    """What an attack did to every sample it was run on, in the order of the test set."""

    index: Integers
    """(N,) positions in the test set."""
    label: Integers
    """(N,) true classes."""
    prediction: Integers
    """(N,) classes predicted under the attack."""
    metadata: dict[str, Any]
    """The attack, the checkpoint and its digest, versions, hardware, seconds."""

    @property
    def correct(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(N,) whether the prediction withstood the attack."""
        return np.equal(self.prediction, self.label)

    @property
    def accuracy(self) -> float:
        """Percent of samples that are classified correctly under the attack."""
        return 100.0 * float(self.correct.mean())

    def write(self, path: Path) -> str:
        """Write atomically; returns the checksum."""
        arrays = {"index": self.index, "label": self.label, "prediction": self.prediction}
        return write_arrays(path, arrays, self.metadata)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record.

        Raises:
            UserError: missing, truncated or damaged.
        """
        arrays, metadata, _ = read_arrays(path)
        return cls(arrays["index"], arrays["label"], arrays["prediction"], metadata)
