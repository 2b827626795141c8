"""A data set in memory: integer pixels and labels on one device, decoded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from raat_core.catalogue import DATA_SETS, import_function


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) in [0, `levels`] and labels int64 (N,)."""

    images: Tensor
    labels: Tensor
    levels: int

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images float32 (B, C, H, W) in [0, 1] and labels (B,) at the positions `indices`."""
        images = self.images[indices].float() / self.levels
        return images.contiguous(memory_format=torch.channels_last), self.labels[indices]

    def take(self, indices: Tensor) -> Split:
        """The samples at the positions `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def to(self, device: torch.device) -> Split:
        """A copy on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """The official training and test images of a data set."""

    train: Split
    test: Split
    classes: int


def load_data_set(name: str, root: Path | None = None) -> DataSet:
    """Load a data set of the catalogue; `root` is where downloaded data lies, if it needs any."""
    data: DataSet = import_function(DATA_SETS[name].loader)(root)
    return data


def hold_out(split: Split, fraction: float) -> tuple[Split, Split]:
    """Split into (kept, held out): of every class, evenly spaced samples are held out."""
    held_out = torch.zeros(len(split), dtype=torch.bool)
    for label in torch.unique(split.labels):
        positions = torch.nonzero(split.labels == label).squeeze(1)
        held_out[positions[evenly_spaced(len(positions), round(fraction * len(positions)))]] = True
    return split.take(torch.nonzero(~held_out)[:, 0]), split.take(torch.nonzero(held_out)[:, 0])


def evenly_spaced(total: int, count: int) -> Tensor:
    """`count` ascending positions in range(total), evenly spaced, int64."""
    return torch.arange(count) * total // max(count, 1)
