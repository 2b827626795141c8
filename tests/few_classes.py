"""Data sets for tests: the first two or three digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from raat_core.interface import DataSetSpec, register

if TYPE_CHECKING:
    from raat_core.data.dataset import DataSet, Split

TRAIN, TEST = 120, 30


def _register(classes: int) -> None:
    @register(
        DataSetSpec(
            f"digits-{classes}",
            title=f"Digits below {classes}",
            image_shape=(1, 8, 8),
            classes=classes,
            train_size=TRAIN,
            test_size=TEST,
        )
    )
    def load(root: Path, check_stop: Callable[[], None]) -> DataSet:
        from raat_core.data.dataset import DataSet, load_data_set

        digits = load_data_set("digits")

        def first(split: Split, count: int) -> Split:
            return split.take((split.labels < classes).nonzero()[:count, 0])

        return DataSet(first(digits.train, TRAIN), first(digits.test, TEST), classes)


for count in (2, 3):
    _register(count)
