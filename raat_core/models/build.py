"""Models by name."""

from __future__ import annotations

import torch
from torch import nn

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.errors import UserError
from raat_core.randomness import seeded


def build_model(
    architecture: str, channels: int, classes: int, seed: int, image_size: int = 32
) -> nn.Module:
    """A freshly initialised model whose weights depend on `seed` alone; on the CPU.

    Its weights are laid out channels last, and so is what its convolutions then make.

    Raises:
        UserError: what builds it returns no module.
    """
    with seeded(seed, "initialisation"):
        model = ARCHITECTURES[architecture].build(channels, classes, image_size)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"architecture {architecture}: its function returned {type(model).__name__}, not a "
            f"torch.nn.Module"
        )
    return model.to(memory_format=torch.channels_last)


def build_model_for(architecture: str, dataset: str, seed: int) -> nn.Module:
    """`build_model` with the channels, classes and image size of a data set of the catalogue."""
    info = DATA_SETS[dataset]
    channels, *size = info.image_shape
    return build_model(architecture, channels, info.classes, seed, image_size=min(size))
