"""A data set from outside the package: digits, black on white, twice as large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from raat_core.interface import DataSetSpec, register

if TYPE_CHECKING:
    from raat_core.data.dataset import DataSet, Split


@register(
    DataSetSpec(
        "ink-digits", title="Ink digits", image_shape=(1, 16, 16), classes=10, train_size=1437,
        test_size=360,
    )
)  # fmt: skip
def load(root: Path, check_stop: Callable[[], None]) -> DataSet:
    """Nothing lies under `root`: they are made of digits."""
    from raat_core.data.dataset import load_data_set

    digits = load_data_set("digits", root, check_stop)
    # Another checksum than that of digits, which these are not: that of their pixels.
    return replace(digits, train=_ink(digits.train), test=_ink(digits.test), sha256=None)


def _ink(split: Split) -> Split:
    large = split.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return replace(split, images=split.levels - large)
