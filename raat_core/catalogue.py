"""Which data sets and architectures there are; known without torch, made by the named functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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


@dataclass(frozen=True)
class ArchitectureInfo:
    """An architecture's printed name, what it costs, and who builds it."""

    title: str
    forward_flop: float
    """Floating-point operations of a forward pass of one 32×32 image; they grow with its area."""
    builder: str
    """`module:function` of `build(channels, classes) -> torch.nn.Module`."""


DATA_SETS: dict[str, DataSetInfo] = {
    "digits": DataSetInfo("Digits", (1, 8, 8), 10, 1437, 360, "raat_core.data.digits:load"),
}

ARCHITECTURES: dict[str, ArchitectureInfo] = {
    "resnet-mini": ArchitectureInfo("ResNet-mini", 1.766e7, "raat_core.models.resnet:resnet_mini"),
    "resnet-18": ArchitectureInfo("ResNet-18", 1.111e9, "raat_core.models.resnet:resnet_18"),
}


def import_function(place: str) -> Callable[..., Any]:
    """The function at `module:function`."""
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
