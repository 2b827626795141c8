"""Data sets that a config may name, and image folders of its own."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, WithJsonSchema

from raat_core.cells.image_folder import FOLDER_NAME
from raat_core.interface.registry import BUILT_IN_DATA_SETS
from raat_core.validation import (
    Frozen,
    OneLine,
)

DataSetName: TypeAlias = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "anyOf": [{"enum": list(BUILT_IN_DATA_SETS)}, {"pattern": FOLDER_NAME}]}
    ),
]
"""Of the catalogue, or of the config's own `datasets`, which `Config` looks it up in."""


class ImageFolderEntry(Frozen):
    """A folder of images of your own: train/<class>/..., test/<class>/..."""

    path: OneLine = Field(
        min_length=1, description="The folder; relative paths start where you run."
    )
    image_size: int = Field(
        ge=4,
        le=1024,
        description="Height and width. Images of another size are scaled until their shorter side "
        "is this, and cropped to their centre.",
    )
    channels: Literal[1, 3] = Field(
        3,
        description="3: RGB, grey images get three equal channels. 1: grey images keep one, others "
        "are refused.",
    )
