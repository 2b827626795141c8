"""Which data sets there are; known without torch, loaded by the named function."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSetInfo:
    """Facts about a data set: image shape (C, H, W), classes, sizes, and who loads it."""

    title: str
    image_shape: tuple[int, int, int]
    classes: int
    train_size: int
    test_size: int
    loader: str
    """`module:function` of `load(root) -> DataSet`."""


DATA_SETS: dict[str, DataSetInfo] = {
    "digits": DataSetInfo("Digits", (1, 8, 8), 10, 1437, 360, "raat_core.data.digits:load"),
}
