"""scikit-learn's digits: 1,797 real handwritten digits of 8x8 pixels, shipped in the package."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from raat_core.data.dataset import DataSet, Split
from raat_core.data.sampling import evenly_spaced
from raat_core.errors import UserError

TEST_PER_CLASS = 36
_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


def load(root: Path, check_stop: Callable[[], None]) -> DataSet:
    """1,437 training and 360 test images (1, 8, 8), 36 test images of every class.

    The test images are evenly spaced through each class, so that the split depends on nothing
    but the data. Nothing lies under `root`: the images come with scikit-learn.
    """
    table = torch.from_numpy(_read_table())
    everything = Split(
        images=table[:, :-1].reshape(-1, 1, 8, 8).to(torch.uint8),
        labels=table[:, -1].long(),
        levels=16,
    )
    is_test = torch.zeros(len(everything), dtype=torch.bool)
    for label in range(10):
        positions = torch.nonzero(everything.labels == label).squeeze(1)
        is_test[positions[evenly_spaced(len(positions), TEST_PER_CLASS)]] = True
    return DataSet(
        train=everything.take(torch.nonzero(~is_test).squeeze(1)),
        test=everything.take(torch.nonzero(is_test).squeeze(1)),
        classes=10,
        sha256=_SHA256,
    )


def _read_table() -> np.ndarray:
    """scikit-learn's own file: 64 pixels and the class per row.

    It is read without importing scikit-learn, which takes longer than torch.

    Raises:
        UserError: scikit-learn is not installed, or its file is another.
    """
    try:
        package = importlib.metadata.distribution("scikit-learn")
    except importlib.metadata.PackageNotFoundError:
        raise UserError("data set digits: scikit-learn, which ships it, is not installed") from None
    path = Path(str(package.locate_file("sklearn/datasets/data/digits.csv.gz")))
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise UserError(f"data set digits: cannot read {path}: {error}") from error
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise UserError(f"data set digits: {path} is damaged, or of another version")
    return np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.int64)
