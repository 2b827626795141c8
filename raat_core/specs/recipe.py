"""How a model is optimised, whatever its objective; new settings leave digests alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raat_core.specs.averaging import Averaging
from raat_core.specs.optimiser import AdamW, Optimiser, Sgd
from raat_core.specs.perturbation import Perturbation
from raat_core.specs.schedule import Moment, OneCycle, Schedule, Steps
from raat_core.validation import LARGEST_COUNT, Frozen, Growing, Ratio, added


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
        128,
        ge=1,
        le=LARGEST_COUNT,
        description="Samples per step; the last batch is kept unless drop_last says otherwise.",
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

    optimiser: Optimiser = added(
        Sgd(), "sgd or adamw, with torch.optim's semantics: {kind: ..., nesterov or betas, eps}."
    )
    schedule: Schedule | None = added(
        None,
        "steps (with warm-up), cosine, one-cycle or triangular; null: decay_epochs, decay_factor.",
    )
    label_smoothing: float = added(
        0.0, "Part of the labels that is spread over all classes.", ge=0, lt=1
    )
    gradient_clipping: float | None = added(
        None, "Largest norm of all gradients together; null: any.", gt=0
    )
    drop_last: bool = added(False, "Leave out the last batch of an epoch if it is not whole.")
    patience: int | None = added(
        None, "Stop after so many epochs without a better checkpoint; null: never.", ge=1
    )
    averaging: Averaging | None = added(None, "An average of the weights: {kind: ema or swa, ...}.")
    perturbation: Perturbation | None = added(
        None, "A perturbation of the weights: {kind: awp, gamma: ...}."
    )

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        epochs = self.decay_epochs
        if list(epochs) != sorted(set(epochs)) or any(epoch < 1 for epoch in epochs):
            raise ValueError(f"decay_epochs = {list(epochs)}: must be positive and ascending")
        return self

    @model_validator(mode="after")
    def _check_optimiser(self) -> Recipe:
        usual = type(self).model_fields["momentum"].default
        if isinstance(self.optimiser, AdamW) and self.momentum != usual:
            raise ValueError(
                f"momentum = {self.momentum}: is SGD's; adamw has optimiser.betas instead"
            )
        if isinstance(self.optimiser, Sgd) and self.optimiser.nesterov and self.momentum == 0:
            raise ValueError("momentum = 0: optimiser.nesterov needs a momentum")
        return self

    @model_validator(mode="after")
    def _check_schedule(self) -> Recipe:
        usual = type(self).model_fields
        if self.schedule is None or isinstance(self.schedule, Steps):
            return self
        for key in ("decay_epochs", "decay_factor"):
            if getattr(self, key) != usual[key].default:
                raise ValueError(
                    f"{key}: belongs to the schedule `steps`, not to `{self.schedule.kind}`"
                )
        return self

    @model_validator(mode="after")
    def _check_epochs(self) -> Recipe:
        """What begins at an epoch begins before the training ends."""
        begins = {
            "averaging.from_epoch": self.averaging and self.averaging.from_epoch,
            "perturbation.from_epoch": self.perturbation and self.perturbation.from_epoch,
            "schedule.warmup_epochs": getattr(self.schedule, "warmup_epochs", None),
        }
        for key, epoch in begins.items():
            if epoch and epoch >= self.epochs:
                raise ValueError(f"{key} = {epoch}: must be below epochs = {self.epochs}")
        return self

    def learning_rate_at(self, moment: Moment) -> float:
        """Learning rate of a step."""
        decays = sum(moment.epoch >= milestone for milestone in self.decay_epochs)
        if self.schedule is None:
            return self.learning_rate * self.decay_factor**decays
        return self.learning_rate * self.schedule.factor(moment, self.decay_factor**decays)

    def momentum_at(self, moment: Moment) -> float:
        """SGD's momentum in a step, or AdamW's first beta."""
        usual = self.momentum if isinstance(self.optimiser, Sgd) else self.optimiser.betas[0]
        if not isinstance(self.schedule, OneCycle):
            return usual
        scheduled = self.schedule.momentum_at(moment)
        return usual if scheduled is None else scheduled
