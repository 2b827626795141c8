"""Which data sets and architectures there are; known without torch, made by the named functions."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator, WithJsonSchema

from raat_core.interface import registry
from raat_core.interface.architecture import Architecture, RegisteredArchitecture
from raat_core.interface.data_set import DataSetSpec, RegisteredDataSet
from raat_core.interface.names import NAME
from raat_core.interface.operations import ResidualNetwork
from raat_core.interface.registry import (
    BUILT_IN_ARCHITECTURES,
    BUILT_IN_DATA_SETS,
    Registry,
    register,
)
from raat_core.validation import suggest

Kind = TypeVar("Kind")


class Catalogue(MutableMapping[str, Kind]):
    """What is registered of one kind, by name; looked up whenever it is asked."""

    def __init__(self, known: Registry[Kind]) -> None:
        self._known = known

    def __getitem__(self, name: str) -> Kind:
        try:
            return self._known.get(name)
        except ValueError as error:
            raise KeyError(name) from error

    def __setitem__(self, name: str, thing: Kind) -> None:
        self._known.replace(name, thing)

    def __delitem__(self, name: str) -> None:
        self._known.replace(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known.names())

    def __len__(self) -> int:
        return len(self._known.names())


DATA_SETS: Catalogue[RegisteredDataSet] = Catalogue(registry.DATA_SETS)
ARCHITECTURES: Catalogue[RegisteredArchitecture] = Catalogue(registry.ARCHITECTURES)


def named_data_sets() -> list[str]:
    """The data sets that have a name in configs: all but image folders, which have a checksum."""
    return [name for name in DATA_SETS if "@" not in name]


@dataclass(frozen=True)
class FunctionAt:
    """A function of this package, imported when it is called: its module needs torch."""

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        return getattr(importlib.import_module(self.module), self.name)(*arguments)


def _function(place: str) -> FunctionAt:
    """The function at `module:function`."""
    return FunctionAt(*place.split(":"))


def _add_data_set(spec: DataSetSpec, place: str) -> None:
    register(spec)(_function(f"raat_core.data.{place}"))


_add_data_set(DataSetSpec("digits", "Digits", (1, 8, 8), 10, 1437, 360), "digits:load")
_add_data_set(
    DataSetSpec("cifar10", "CIFAR-10", (3, 32, 32), 10, 50_000, 10_000, prepared=True),
    "cifar:load_cifar10",
)
_add_data_set(
    DataSetSpec("cifar100", "CIFAR-100", (3, 32, 32), 100, 50_000, 10_000, prepared=True),
    "cifar:load_cifar100",
)
_add_data_set(
    DataSetSpec("tiny-imagenet", "Tiny-ImageNet", (3, 64, 64), 200, 100_000, 10_000, prepared=True),
    "tiny_imagenet:load",
)

_FOUR_WIDTHS = (64, 128, 256, 512)
_resnet_18 = ResidualNetwork("basic", 64, _FOUR_WIDTHS, (2, 2, 2, 2)).operations
_resnet_18_bottleneck = ResidualNetwork("bottleneck", 64, _FOUR_WIDTHS, (2, 2, 2, 2)).operations
_resnet_mini = ResidualNetwork("basic", 16, (16, 32), (1, 1)).operations
_wrn_28_10 = ResidualNetwork("basic", 16, (160, 320, 640), (4, 4, 4)).operations


def _add_architecture(spec: Architecture, place: str) -> None:
    register(spec)(_function(f"raat_core.models.{place}"))


_add_architecture(
    Architecture("resnet-mini", "ResNet-mini", operations=_resnet_mini), "resnet:resnet_mini"
)
_add_architecture(Architecture("resnet-18", "ResNet-18", operations=_resnet_18), "resnet:resnet_18")
_add_architecture(
    Architecture(
        "resnet-18-bottleneck",
        "ResNet-18 (Bottleneck)",
        operations=_resnet_18_bottleneck,
        paper_title="ResNet-18",
    ),
    "resnet:resnet_18_bottleneck",
)
_add_architecture(
    Architecture("preact-resnet-18", "PreActResNet-18", operations=_resnet_18),
    "preact_resnet:preact_resnet_18",
)
_add_architecture(
    Architecture(
        "preact-resnet-18-normalised",
        "PreActResNet-18 (normalised)",
        channels=3,
        operations=_resnet_18,
        paper_title="PreActResNet-18",
    ),
    "preact_resnet:preact_resnet_18_normalised",
)
_add_architecture(
    Architecture("wrn-28-10", "WRN-28-10", operations=_wrn_28_10), "wide_resnet:wrn_28_10"
)


def _known(kind: str, catalogue: Catalogue[Any]) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, str) or value not in catalogue:
            hint = " (one of your own needs its plugin to be loaded)"
            raise ValueError(f"unknown {kind}{suggest(value, catalogue)}{hint}")
        return value

    return BeforeValidator(check)


_FOLDER = {"pattern": "^.+@[0-9a-f]{12}$"}
_OF_A_PLUGIN = {"pattern": NAME}
DataSetName: TypeAlias = Annotated[
    str,
    _known("data set", DATA_SETS),
    WithJsonSchema(
        {"type": "string", "anyOf": [{"enum": list(BUILT_IN_DATA_SETS)}, _OF_A_PLUGIN, _FOLDER]}
    ),
]
ArchitectureName: TypeAlias = Annotated[
    str,
    _known("architecture", ARCHITECTURES),
    WithJsonSchema(
        {"type": "string", "anyOf": [{"enum": list(BUILT_IN_ARCHITECTURES)}, _OF_A_PLUGIN]}
    ),
]
