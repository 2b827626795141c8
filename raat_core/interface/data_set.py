"""What a data set is, apart from the function that loads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from raat_core.errors import UserError
from raat_core.interface.names import require_name, require_title, require_whole
from raat_core.interface.operations import ImageShape

CheckStop: TypeAlias = Callable[[], None]
Loader: TypeAlias = Callable[[Path, CheckStop], Any]
"""`load(root, check_stop)`: a `raat_core.data.dataset.DataSet`, from files below `root`.

`check_stop` is to be called now and then where that takes long; it raises when a signal came."""


@dataclass(frozen=True)
class DataSetSpec:
    """A data set by name: `register(DataSetSpec(...))` decorates the function that loads it.

    What that function returns is held against it.

    Raises:
        UserError: a value is not allowed; says which, and what is.
    """

    name: str
    """In specs and configs: letters, digits, - and _."""
    title: str
    """In tables and figures."""
    image_shape: ImageShape
    """Channels, height, width."""
    classes: int
    train_size: int
    """Training images."""
    test_size: int
    """Test images."""
    version: int = 1
    """Part of every cell's identity where it is not 1: raise it when other images come out."""
    prepared: bool = False
    """Whether it is downloaded and decoded, once, before jobs load it."""

    def __post_init__(self) -> None:
        where = f"data set {self.name!r}"
        # An image folder's name has its checksum behind an @.
        require_name("data set", self.name.partition("@")[0])
        require_title(where, self.title)
        shape = self.image_shape
        if not isinstance(shape, tuple) or len(shape) != 3:
            raise UserError(f"{where}: image_shape = {shape!r}: must be (channels, height, width)")
        for key, value in zip(("channels", "height", "width"), shape, strict=True):
            require_whole(where, f"image_shape's {key}", value)
        require_whole(where, "classes", self.classes, smallest=2)
        for key in ("train_size", "test_size", "version"):
            require_whole(where, key, getattr(self, key))


@dataclass(frozen=True, kw_only=True)
class RegisteredDataSet(DataSetSpec):
    """A data set and the function that loads it."""

    load: Loader
