"""What the keys of a cell's spec ask of each other."""

from __future__ import annotations

import math

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.fields import CellFields
from raat_core.cells.image_folder import check_described
from raat_core.cells.network import check_network
from raat_core.interface.registry import method_class


def check_agreement(cell: CellFields) -> None:
    """Refuse a cell whose keys do not agree with each other.

    Raises:
        ValueError: names the first place where they do not.
    """
    check_described(cell.dataset, cell.image_folder)
    check_network(cell.architecture, cell.network)
    _check_channels(cell)
    if not cell.trains:
        return
    _check_padding(cell)
    _check_held_out(cell)
    _check_method(cell)
    _check_selection(cell)
    if cell.extra_data is not None:
        cell.extra_data.check(cell.dataset)
        cell.extra_data.samples_of(cell.recipe.batch_size)


def _check_padding(cell: CellFields) -> None:
    augmentation = cell.recipe.augmentation
    smallest = min(DATA_SETS[cell.dataset].image_shape[1:])
    if augmentation.padding == "reflect" and augmentation.crop_padding >= smallest:
        raise ValueError(
            f"recipe.augmentation.crop_padding = {augmentation.crop_padding}: with padding: "
            f"reflect it must be below {smallest}, the size of an image of {cell.dataset}"
        )


def _check_held_out(cell: CellFields) -> None:
    """Of the catalogue's data sets, whose classes are about equally large."""
    selection, info = cell.selection, DATA_SETS[cell.dataset]
    per_class = math.ceil(info.train_size / info.classes)
    held_out = max(round(selection.validation_fraction * per_class), 1)
    is_empty = held_out >= per_class
    if selection.split == "validation" and cell.image_folder is None and is_empty:
        raise ValueError(
            f"selection.validation_fraction = {selection.validation_fraction}: of the "
            f"{per_class} training images of a class of {cell.dataset}, at least one must be "
            f"held out and one left"
        )


def _check_channels(cell: CellFields) -> None:
    taken = ARCHITECTURES[cell.architecture].channels
    found = DATA_SETS[cell.dataset].image_shape[0]
    if taken not in (None, found):
        raise ValueError(
            f"architecture = '{cell.architecture}': takes images of {taken} channels; "
            f"those of {cell.dataset} have {found}"
        )


def _check_method(cell: CellFields) -> None:
    facts, cls = cell.facts(), method_class(cell.method.name)
    if facts.steps_per_epoch == 0:
        raise ValueError(
            f"recipe.batch_size = {cell.recipe.batch_size}: with drop_last it must be at most "
            f"{facts.train_size}, the training images of {cell.dataset}"
        )
    if cell.recipe.label_smoothing > 0 and not cls.smooths_labels:
        raise ValueError(
            f"recipe.label_smoothing = {cell.recipe.label_smoothing}: method "
            f"'{cell.method.name}' has no supervised term that labels can be smoothed in"
        )
    cell.method.check(facts)


def _check_selection(cell: CellFields) -> None:
    """Of what chooses the best checkpoint."""
    attack, info = cell.selection.attack, DATA_SETS[cell.dataset]
    if cell.selection.by == "last" and cell.recipe.patience is not None:
        raise ValueError(
            f"recipe.patience = {cell.recipe.patience}: waits for a better checkpoint, and "
            f"selection.by = 'last' looks for none"
        )
    if attack is None:
        return
    if attack.uses_cells:
        raise ValueError(
            f"selection.by = '{attack.kind}': uses the model of another cell, which is not there "
            f"while this one is trained"
        )
    size = info.test_size
    if cell.selection.split == "validation":
        size = info.train_size - cell.selection.train_size(info.train_size)
    if attack.images(size) > size:
        raise ValueError(
            f"selection.by.samples = {attack.samples}: must be at most {size}, the images of "
            f"the {cell.selection.split} split"
        )
    try:
        attack.check(info.classes, info.image_shape)
    except ValueError as error:
        raise ValueError(f"selection.by: {attack.kind}: {error}") from None
