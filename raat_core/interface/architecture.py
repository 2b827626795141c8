"""What an architecture is, apart from the function that builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from raat_core.errors import UserError
from raat_core.interface.names import require_name, require_title, require_whole
from raat_core.interface.operations import ImageShape, Operations

if TYPE_CHECKING:
    from torch import nn

Builder: TypeAlias = Callable[[int, int, int], "nn.Module"]
"""`build(channels, classes, image_size)`: a model of images in [0, 1] that returns logits."""
OperationsCount: TypeAlias = Callable[[ImageShape, int], Operations]
"""What a pass of one image costs, from its shape (C, H, W) and the number of classes."""


@dataclass(frozen=True)
class Architecture:
    """A network by name: `register(Architecture(...))` decorates the function that builds it.

    Raises:
        UserError: a value is not allowed; says which, and what is.
    """

    name: str
    """In specs and configs: letters, digits, - and _."""
    title: str
    """In tables and figures."""
    version: int = 1
    """Part of every cell's identity where it is not 1: raise it when other numbers come out."""
    channels: int | None = None
    """Of the images that it takes; None: any number."""
    operations: OperationsCount | None = None
    """Without, the first training job counts them; until then plans assume ResNet-18's."""
    paper_title: str = ""
    """What the paper calls it, where the released code runs something else under that name."""

    def __post_init__(self) -> None:
        where = f"architecture {self.name!r}"
        require_name("architecture", self.name)
        require_title(where, self.title)
        require_whole(where, "version", self.version)
        if self.channels is not None:
            require_whole(where, "channels", self.channels)
        if self.operations is not None and not callable(self.operations):
            raise UserError(f"{where}: operations = {self.operations!r}: must be a function")


@dataclass(frozen=True, kw_only=True)
class RegisteredArchitecture(Architecture):
    """An architecture and the function that builds it."""

    build: Builder
