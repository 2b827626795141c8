"""How a model is optimised: epochs, batches, learning rate, augmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raat_core.validation import LARGEST_COUNT, Frozen, Growing, Ratio


class Augmentation(Frozen):
    """Random crop and horizontal flip, drawn for every image and view."""

    crop_padding: int = Field(
        4, ge=0, le=64, description="Pixels around the image before the crop."
    )
    padding: Literal["zero", "reflect"] = Field("zero", description="What stands there.")
    flip: bool = Field(True, description="Flip horizontally with probability one half.")


class Recipe(Growing):
    """How a model is optimised (Appendix D.1)."""

    epochs: int = Field(110, ge=1, le=LARGEST_COUNT, description="Passes over the training set.")
    batch_size: int = Field(
        128, ge=1, le=LARGEST_COUNT, description="Samples per step; the last batch is kept."
    )
    learning_rate: float = Field(0.1, gt=0, description="SGD's first learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty on all parameters.")
    decay_epochs: tuple[int, ...] = Field(
        (100, 105), description="Epochs after which the learning rate is multiplied."
    )
    decay_factor: Ratio = Field(
        0.1, description="By what it is multiplied: a number, or a fraction such as 2/3."
    )
    augmentation: Augmentation = Field(default_factory=Augmentation, description="Of the views.")
    attack_batchnorm: Literal["eval", "train"] = Field(
        "eval", description="BatchNorm's mode while the training attack runs."
    )

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        epochs = self.decay_epochs
        if list(epochs) != sorted(set(epochs)) or any(epoch < 1 for epoch in epochs):
            raise ValueError(f"decay_epochs = {list(epochs)}: must be positive and ascending")
        return self

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of the epoch counted from 0."""
        decays = sum(epoch >= milestone for milestone in self.decay_epochs)
        return self.learning_rate * self.decay_factor**decays
