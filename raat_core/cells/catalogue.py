"""Which data sets and architectures there are; known without torch, made by the named functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, WithJsonSchema

from raat_core.interface.operations import ImageShape, Operations, ResidualNetwork
from raat_core.validation import suggest


@dataclass(frozen=True)
class DataSetInfo:
    """Facts about a data set: image shape (C, H, W), classes, sizes, and who loads it."""

    title: str
    image_shape: ImageShape
    classes: int
    train_size: int
    test_size: int
    loader: str
    """`module:function` of `load(name, root, check_stop) -> DataSet`."""
    prepared: bool = False
    """Whether it is downloaded and decoded, once, before it is loaded."""


@dataclass(frozen=True)
class ArchitectureInfo:
    """An architecture's printed name, what it costs, and who builds it."""

    title: str
    operations: Callable[[ImageShape, int], Operations]
    """What a pass of one image costs, from its shape (C, H, W) and the number of classes."""
    builder: str
    """`module:function` of `build(channels, classes, image_size) -> torch.nn.Module`."""
    channels: int | None = None
    """Of the images that it takes; None: any number."""
    paper_title: str = ""
    """What the paper calls it, where the released code runs something else under that name."""


DATA_SETS: dict[str, DataSetInfo] = {
    "digits": DataSetInfo("Digits", (1, 8, 8), 10, 1437, 360, "raat_core.data.digits:load"),
    "cifar10": DataSetInfo(
        "CIFAR-10", (3, 32, 32), 10, 50_000, 10_000, "raat_core.data.cifar:load", prepared=True
    ),
    "cifar100": DataSetInfo(
        "CIFAR-100", (3, 32, 32), 100, 50_000, 10_000, "raat_core.data.cifar:load", prepared=True
    ),
    "tiny-imagenet": DataSetInfo(
        "Tiny-ImageNet",
        (3, 64, 64),
        200,
        100_000,
        10_000,
        "raat_core.data.tiny_imagenet:load",
        prepared=True,
    ),
}

_FOUR_WIDTHS = (64, 128, 256, 512)
_resnet_18 = ResidualNetwork("basic", 64, _FOUR_WIDTHS, (2, 2, 2, 2)).operations
_resnet_18_bottleneck = ResidualNetwork("bottleneck", 64, _FOUR_WIDTHS, (2, 2, 2, 2)).operations

ARCHITECTURES: dict[str, ArchitectureInfo] = {
    "resnet-mini": ArchitectureInfo(
        "ResNet-mini",
        ResidualNetwork("basic", 16, (16, 32), (1, 1)).operations,
        "raat_core.models.resnet:resnet_mini",
    ),
    "resnet-18": ArchitectureInfo("ResNet-18", _resnet_18, "raat_core.models.resnet:resnet_18"),
    "resnet-18-bottleneck": ArchitectureInfo(
        "ResNet-18 (Bottleneck)",
        _resnet_18_bottleneck,
        "raat_core.models.resnet:resnet_18_bottleneck",
        paper_title="ResNet-18",
    ),
    "preact-resnet-18": ArchitectureInfo(
        "PreActResNet-18", _resnet_18, "raat_core.models.preact_resnet:preact_resnet_18"
    ),
    "preact-resnet-18-normalised": ArchitectureInfo(
        "PreActResNet-18 (normalised)",
        _resnet_18,
        "raat_core.models.preact_resnet:preact_resnet_18_normalised",
        channels=3,
        paper_title="PreActResNet-18",
    ),
    "wrn-28-10": ArchitectureInfo(
        "WRN-28-10",
        ResidualNetwork("basic", 16, (160, 320, 640), (4, 4, 4)).operations,
        "raat_core.models.wide_resnet:wrn_28_10",
    ),
}


def import_function(place: str) -> Callable[..., Any]:
    """The function at `module:function`."""
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _known(kind: str, catalogue: dict[str, Any]) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, str) or value not in catalogue:
            raise ValueError(f"unknown {kind}{suggest(value, catalogue)}")
        return value

    return BeforeValidator(check)


_DATA_SET_SCHEMA = {"anyOf": [{"enum": list(DATA_SETS)}, {"pattern": "^.+@[0-9a-f]{12}$"}]}
DataSetName: TypeAlias = Annotated[
    str, _known("data set", DATA_SETS), WithJsonSchema({"type": "string", **_DATA_SET_SCHEMA})
]
ArchitectureName: TypeAlias = Annotated[
    str, _known("architecture", ARCHITECTURES), WithJsonSchema({"enum": list(ARCHITECTURES)})
]
