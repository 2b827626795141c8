"""A second data set, of whose training images every batch holds a share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from raat_core.cells.catalogue import DATA_SETS, DataSetName
from raat_core.cells.image_folder import ImageFolder, check_described, register_described
from raat_core.interface.needs import NeededCell
from raat_core.validation import Growing, added, suggest


def _given_or_needed(value: object) -> object:
    """Its mistakes are told once, as those of the one or of the other."""
    if isinstance(value, str):
        if value != "given":
            raise ValueError(
                f"unknown labels{suggest(value, ['given'])}, or a cell {{method: ...}}"
            )
        return value
    return NeededCell.model_validate(value)


Labels: TypeAlias = Annotated[Literal["given"] | NeededCell, BeforeValidator(_given_or_needed)]


class ExtraDataSettings(Growing):
    """How extra data is used, whatever it is."""

    share: float = Field(
        0.5, gt=0, lt=1, description="Part of every batch; an epoch is one pass over the others."
    )
    labels: Labels = Field(
        "given",
        description="given, or a cell {method: ..., ...} that is trained first and whose model "
        "says the labels of the images.",
    )

    @property
    def labeller(self) -> NeededCell | None:
        """The cell whose model says the labels."""
        return None if isinstance(self.labels, str) else self.labels

    def samples_of(self, batch_size: int) -> int:
        """How many samples of a whole batch are extra.

        Raises:
            ValueError: none, or all.
        """
        samples = round(self.share * batch_size)
        if not 0 < samples < batch_size:
            raise ValueError(
                f"extra_data.share = {self.share}: of a batch of {batch_size} samples, at least "
                f"one must be extra and one not"
            )
        return samples


class ExtraData(ExtraDataSettings):
    """A data set of the same image shape, of which only the training images are used."""

    dataset: DataSetName = Field(description="Data set, by name.")
    image_folder: ImageFolder | None = added(
        None, "What `dataset` is, if it is an image folder: `<name>@<checksum>`."
    )

    @model_validator(mode="before")
    @classmethod
    def _register_image_folder(cls, data: Any) -> Any:
        """Before its name is looked up in the catalogue."""
        register_described(data)
        return data

    @model_validator(mode="after")
    def _check_image_folder(self) -> ExtraData:
        check_described(self.dataset, self.image_folder)
        return self

    def check(self, dataset: str) -> None:
        """Refuse a data set that cannot be extra to another one of the catalogue.

        Raises:
            ValueError: its images have another shape, or its labels are of more classes.
        """
        own, main = DATA_SETS[self.dataset], DATA_SETS[dataset]
        if own.image_shape != main.image_shape:
            raise ValueError(
                f"extra_data.dataset = '{self.dataset}': has images of {_times(own.image_shape)}, "
                f"those of {dataset} are {_times(main.image_shape)}"
            )
        if self.labeller is None and own.classes > main.classes:
            raise ValueError(
                f"extra_data.dataset = '{self.dataset}': has labels of {own.classes} classes, "
                f"{dataset} has {main.classes}; or let a cell say them: labels: {{method: ...}}"
            )


def check_labeller(extra: str, labelled_by: str, dataset: str) -> None:
    """Refuse a cell that cannot say labels, by the data sets of all three.

    Raises:
        ValueError: it takes images of another shape, or knows more classes.
    """
    images, trained_on, main = DATA_SETS[extra], DATA_SETS[labelled_by], DATA_SETS[dataset]
    if trained_on.image_shape != images.image_shape or trained_on.classes > main.classes:
        raise ValueError(
            f"extra_data.labels.dataset = '{labelled_by}': must have images of "
            f"{_times(images.image_shape)} and at most {main.classes} classes"
        )


def _times(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))
