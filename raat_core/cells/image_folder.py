"""What a data set of image files is, as part of a cell's spec."""

from __future__ import annotations

import re

from pydantic import Field

from raat_core.cells.catalogue import DATA_SETS, DataSetInfo
from raat_core.validation import Frozen

FOLDER_NAME = "^[A-Za-z][A-Za-z0-9_-]*$"
"""What names of image folders look like, as a regular expression."""


def check_folder_name(name: str) -> str:
    """A name for an image folder.

    Raises:
        ValueError: it is a data set of the catalogue, or has other characters.
    """
    built_in = [known for known in DATA_SETS if "@" not in known]
    if not re.fullmatch(FOLDER_NAME, name) or "\n" in name or name in built_in:
        raise ValueError(
            f"a name must be letters, digits, - and _, a letter first, and none of "
            f"{', '.join(built_in)}"
        )
    return name


class ImageFolder(Frozen):
    """What a data set of image files is: all that a model has to know of it, and its checksum.

    Where the files lie is no part of it. The same name with other images is another data set.
    """

    name: str = Field(pattern=FOLDER_NAME, description="Its name in the config.")
    image_size: int = Field(ge=4, le=1024, description="Height and width of the RGB images.")
    classes: int = Field(ge=2, description="Number of classes.")
    train_size: int = Field(ge=1, description="Training images.")
    test_size: int = Field(ge=1, description="Test images.")
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Over pixels, labels and names of classes."
    )

    @property
    def key(self) -> str:
        """`<name>@<twelve digits of the checksum>`, by which cells and the catalogue know it."""
        return f"{self.name}@{self.sha256[:12]}"

    def register(self) -> str:
        """Add it to the catalogue of this process; returns its key."""
        DATA_SETS[self.key] = DataSetInfo(
            title=self.name,
            image_shape=(3, self.image_size, self.image_size),
            classes=self.classes,
            train_size=self.train_size,
            test_size=self.test_size,
            loader="raat_core.data.image_folder:load",
        )
        return self.key
