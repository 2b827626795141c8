"""A network of a user's own, or a network behind a normalisation, as part of a cell's spec."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import Field, ValidationError, model_validator

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.cells.digests import digest_of
from raat_core.interface import registry
from raat_core.interface.architecture import RegisteredArchitecture
from raat_core.interface.plugins import Plugin, find_function
from raat_core.validation import Frozen, Growing, OneLine, added, suggest

if TYPE_CHECKING:
    from torch import nn

Argument: TypeAlias = bool | int | float | str | list[bool | int | float | str] | None
LONGEST_STEM = 40
ZOO = "robustbench"
"""The package of RobustBench's zoo."""
ZOO_BUILDER = "raat_core.models.zoo:build"
"""What makes its networks, by its code."""


class Normalise(Frozen):
    """(x - mean) / std of every channel, which the network had done to its images outside of it."""

    mean: tuple[float, ...] = Field(min_length=1, description="Of each channel, for [0, 1].")
    std: tuple[float, ...] = Field(min_length=1, description="Of each channel.")

    @model_validator(mode="after")
    def _check(self) -> Normalise:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean = {list(self.mean)}, std = {list(self.std)}: must be as many, one a channel"
            )
        if any(std <= 0 for std in self.std):
            raise ValueError(f"std = {list(self.std)}: must be above 0")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if any(abs(value) > 1 for value in values):
                raise ValueError(
                    f"{key} = {list(values)}: are of pixels in [0, 1], not of 0 to 255"
                )
        return self


class Network(Growing):
    """What an architecture is that has no name of its own in the catalogue."""

    of: OneLine = Field(
        description="An architecture by name, or `module:function` or `file.py:function` (a class, "
        "too), which makes a torch module; a relative path starts where you run."
    )
    arguments: dict[str, Argument] = Field(
        default_factory=dict,
        description="Of the function. `channels`, `classes` and `image_size` are given to it if it "
        "has parameters of these names.",
    )
    normalise: Normalise | None = Field(
        None, description="What was done to images before the network saw them."
    )
    version: int = added(1, "Raise it when the function makes another network.", ge=1)

    @model_validator(mode="after")
    def _check(self) -> Network:
        if ":" in self.of:
            return self
        if self.of not in ARCHITECTURES:
            hint = " (or module:function, or file.py:function)"
            known = suggest(self.of, ARCHITECTURES)
            raise ValueError(f"of = '{self.of}': unknown architecture{known}{hint}")
        if self.arguments:
            raise ValueError(f"arguments: are of a function; '{self.of}' is an architecture")
        channels = ARCHITECTURES[self.of].channels
        if self.normalise and channels not in (None, len(self.normalise.mean)):
            raise ValueError(
                f"normalise.mean = {list(self.normalise.mean)}: {self.of} takes images of "
                f"{channels} channels"
            )
        return self

    @property
    def is_function(self) -> bool:
        """Whether it is made by a function of the user's, not by an architecture of a name."""
        return ":" in self.of

    @property
    def name(self) -> str:
        """`<what makes it>-<digits>`, by which cells and the catalogue know it."""
        stem = re.sub(r"[^A-Za-z0-9-]", "-", self._own_title).strip("-")
        stem = stem if stem[:1].isalpha() else f"net-{stem}"
        return f"{stem[:LONGEST_STEM]}-{digest_of(self.model_dump(mode='json'), 8)}"

    @property
    def _own_title(self) -> str:
        """Of a function its name, of a model of the zoo that of the model."""
        if self.of == ZOO_BUILDER:
            return str(self.arguments.get("name"))
        return self.of.rpartition(":")[2]

    def register(self) -> str:
        """Add it to the catalogue of this process; returns its name.

        A function whose file is gone is known all the same: records are read without it.
        """
        name = self.name
        base = None if self.is_function else ARCHITECTURES[self.of]
        channels = base.channels if base else None
        registry.ARCHITECTURES.add_described(
            name,
            RegisteredArchitecture(
                name=name,
                title=base.title if base else self._own_title,
                version=base.version if base else 1,
                channels=len(self.normalise.mean) if self.normalise else channels,
                operations=base.operations if base else None,
                paper_title=base.paper_title if base else "",
                build=self._build,
            ),
            self._plugin(),
        )
        return name

    def _plugin(self) -> Plugin | None:
        if not self.is_function:
            return registry.ARCHITECTURES.plugin(self.of)
        try:
            return find_function(f"{ZOO}:build" if self.of == ZOO_BUILDER else self.of)
        except ValueError:
            return Plugin(self.of, None)

    def _build(self, channels: int, classes: int, image_size: int) -> nn.Module:
        """What builds it needs torch."""
        build = importlib.import_module("raat_core.models.network").build
        module: nn.Module = build(self, channels, classes, image_size)
        return module


def register_network(data: Any) -> None:
    """Add the `network` of a spec's data to the catalogue, if there is a valid one."""
    if isinstance(data, Mapping) and data.get("network") is not None:
        with contextlib.suppress(ValidationError):  # It is reported with its key.
            Network.model_validate(data["network"]).register()


def check_network(architecture: str, network: Network | None) -> None:
    """Refuse an architecture's name that is not its network's.

    Raises:
        ValueError: it is another one.
    """
    if network is not None and architecture != network.name:
        raise ValueError(f"architecture = '{architecture}': must be '{network.name}'")
