"""What a data set of image files is, as part of a cell's spec."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from raat_core.cells.catalogue import DATA_SETS, named_data_sets
from raat_core.interface.data_set import RegisteredDataSet
from raat_core.interface.names import NAME
from raat_core.validation import Growing, added

FOLDER_NAME = NAME
"""What names of image folders look like, as a regular expression."""


def check_folder_name(name: str) -> str:
    """A name for an image folder.

    Raises:
        ValueError: it is a data set of the catalogue, or has other characters.
    """
    taken = named_data_sets()
    if not re.fullmatch(FOLDER_NAME, name) or "\n" in name or name in taken:
        raise ValueError(
            f"a name must be letters, digits, - and _, a letter first, and none of "
            f"{', '.join(taken)}"
        )
    return name


class ImageFolder(Growing):
    """What a data set of image files is: all that a model has to know of it, and its checksum.

    Where the files lie is no part of it. The same name with other images is another data set.
    """

    name: str = Field(pattern=FOLDER_NAME, description="Its name in the config.")
    image_size: int = Field(ge=4, le=1024, description="Height and width of the images.")
    classes: int = Field(ge=2, description="Number of classes.")
    train_size: int = Field(ge=1, description="Training images.")
    test_size: int = Field(ge=1, description="Test images.")
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Over pixels, labels and names of classes."
    )
    channels: Literal[1, 3] = added(3, "3 for RGB; 1 for grey images.")

    @property
    def key(self) -> str:
        """`<name>@<twelve digits of the checksum>`, by which cells and the catalogue know it."""
        return f"{self.name}@{self.sha256[:12]}"

    def register(self) -> str:
        """Add it to the catalogue of this process; returns its key."""
        key = self.key

        def load(root: Path, check_stop: Callable[[], None]) -> Any:
            """Its reader needs torch."""
            return importlib.import_module("raat_core.data.image_folder").load(key, root)

        DATA_SETS[key] = RegisteredDataSet(
            name=key,
            title=self.name,
            image_shape=(self.channels, self.image_size, self.image_size),
            classes=self.classes,
            train_size=self.train_size,
            test_size=self.test_size,
            load=load,
        )
        return key


def register_described(data: Any) -> None:
    """Add the `image_folder` of a spec's data to the catalogue, if there is a valid one."""
    if isinstance(data, Mapping) and data.get("image_folder") is not None:
        with contextlib.suppress(ValidationError):  # It is reported with its key.
            ImageFolder.model_validate(data["image_folder"]).register()


def check_described(dataset: str, image_folder: ImageFolder | None) -> None:
    """Refuse a data set's name that is not its image folder's.

    Raises:
        ValueError: the folder is missing, or another one.
    """
    if image_folder is None and "@" in dataset:
        raise ValueError("image_folder: is missing, which says what this data set is")
    if image_folder is not None and dataset != image_folder.key:
        raise ValueError(f"dataset = '{dataset}': must be '{image_folder.key}'")
