"""How the best checkpoint of a training is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from raat_core.validation import LARGEST_COUNT, Growing


class Selection(Growing):
    """How the best checkpoint is chosen: by PGD accuracy after an epoch, the first of equals."""

    split: Literal["test", "validation"] = Field(
        "test",
        description="test, as in the paper, or a part of the training set that is held out.",
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Part held out of every class for split: validation."
    )
    steps: int = Field(10, ge=1, le=LARGEST_COUNT, description="PGD steps, in the cell's ball.")
    every: int = Field(1, ge=1, description="Epochs between evaluations; the last always is one.")
    batch_size: int = Field(256, ge=1, le=LARGEST_COUNT, description="Images attacked at a time.")

    def train_size(self, size: int) -> int:
        """How many of so many training images are left to train on; about, if some are held out."""
        return size if self.split == "test" else size - round(self.validation_fraction * size)

    @model_validator(mode="before")
    @classmethod
    def _forget_what_does_not_matter(cls, data: Any) -> Any:
        """Without a held out part its size is no part of a cell's identity."""
        if isinstance(data, Mapping) and data.get("split", "test") == "test":
            return {key: value for key, value in data.items() if key != "validation_fraction"}
        return data
