"""A data set in memory: integer pixels and labels on one device, decoded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from raat_core.cells.catalogue import DATA_SETS, import_function
from raat_core.data.cache import LEVELS, Cached, Source, cached, data_root
from raat_core.errors import UserError


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) in [0, `levels`] and labels int64 (N,)."""

    images: Tensor
    labels: Tensor
    levels: int
    memory_format: torch.memory_format = torch.channels_last
    """Of the batches."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images float32 (B, C, H, W) in [0, 1] and labels (B,) at the positions `indices`."""
        images = self.images[indices].float() / self.levels
        return images.contiguous(memory_format=self.memory_format), self.labels[indices]

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
    sha256: str | None = None
    """Of what it was read from, or of its pixels and labels; kept with every result."""


def load_data_set(
    name: str, root: Path | None = None, check_stop: Callable[[], None] = lambda: None
) -> DataSet:
    """Load a data set of the catalogue; its cache is made first if it needs one.

    Args:
        name: in the catalogue.
        root: where data lies; without, the environment's RAAT_DATA, or `data`.
        check_stop: called while the cache is waited for or made; may raise to stop.

    Raises:
        UserError: a file is missing or damaged; says which, and where it has to be.
    """
    load = import_function(DATA_SETS[name].loader)
    data: DataSet = load(name, data_root(root), check_stop)
    return data


def load_cached(
    name: str, root: Path, make: Callable[[], Source], check_stop: Callable[[], None]
) -> DataSet:
    """A data set from its cache in `root`/cache/`name`, mapped; made first if it is not there.

    Raises:
        UserError: by `make`, or it makes another data set than the catalogue describes.
    """
    return from_cache(name, cached(root / "cache" / name, make, check_stop))


def from_cache(name: str, found: Cached) -> DataSet:
    """The tensors of a mapped file.

    Raises:
        UserError: it is another data set than the catalogue describes.
    """
    info = DATA_SETS[name]
    splits = {}
    for split, size in (("train", info.train_size), ("test", info.test_size)):
        images, labels = found.arrays[f"{split}_images"], found.arrays[f"{split}_labels"]
        if images.shape != (size, *info.image_shape) or len(found.classes) != info.classes:
            raise UserError(
                f"data set {name}: {found.path} holds {split} images {images.shape} of "
                f"{len(found.classes)} classes, not {(size, *info.image_shape)} of {info.classes}"
            )
        splits[split] = Split(torch.from_numpy(images), torch.from_numpy(labels), LEVELS)
    return DataSet(**splits, classes=info.classes, sha256=found.sha256)


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
