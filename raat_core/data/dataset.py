"""A data set in memory: integer pixels and labels on one device, decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from raat_core.cells.catalogue import DATA_SETS
from raat_core.data.cache import LEVELS, Cached, Source, cached, data_root
from raat_core.data.sampling import stratified
from raat_core.errors import UserError
from raat_core.validation import one_line


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
        UserError: a file is missing or damaged; says which, and where it has to be. Or it is
            another data set than the catalogue describes.
    """
    try:
        loaded = DATA_SETS[name].load(data_root(root), check_stop)
    except OSError as error:
        raise UserError(one_line(f"data set {name}: cannot be loaded: {error}")) from error
    return identified(require_described(name, loaded))


def require_described(name: str, data: object) -> DataSet:
    """What was loaded, held against the catalogue.

    Raises:
        UserError: says what is not as described, in one line.
    """
    info = DATA_SETS[name]
    if not isinstance(data, DataSet):
        raise UserError(
            f"data set {name}: its function returned {type(data).__name__}, not a "
            f"raat_core.data.dataset.DataSet"
        )
    if data.classes != info.classes:
        raise UserError(f"data set {name}: {data.classes} classes, not {info.classes}")
    for part, split, size in (
        ("train", data.train, info.train_size),
        ("test", data.test, info.test_size),
    ):
        problem = _problem(split, (size, *info.image_shape), info.classes)
        if problem:
            raise UserError(f"data set {name}: {part}: {problem}")
    return data


def _problem(split: Split, shape: tuple[int, ...], classes: int) -> str:
    """What is not as it has to be; empty if all is."""
    images, labels, levels = split.images, split.labels, split.levels
    for key, value in (("images", images), ("labels", labels)):
        if not isinstance(value, Tensor):
            return f"{key} are {type(value).__name__}, not a torch.Tensor"
    if images.dtype != torch.uint8 or images.shape != shape:
        return f"images are {_described(images)}, not {_in_words(torch.uint8, shape)}"
    if labels.dtype != torch.int64 or labels.shape != shape[:1]:
        return f"labels are {_described(labels)}, not {_in_words(torch.int64, shape[:1])}"
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        return f"labels are from {lowest} to {highest}, not from 0 to {classes - 1}"
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= LEVELS:
        return f"levels = {levels!r}: must be a whole number from 1 to {LEVELS}"
    # Those of mapped files need not be read: no byte is larger.
    if levels < LEVELS and int(images.max()) > levels:
        return f"levels = {levels}, and the largest pixel is {int(images.max())}"
    return ""


def _described(tensor: Tensor) -> str:
    return _in_words(tensor.dtype, tuple(tensor.shape))


def _in_words(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    """`uint8 (1437, 1, 8, 8)`."""
    return f"{str(dtype).removeprefix('torch.')} {shape}"


def checksum(data: DataSet) -> str:
    """SHA-256 over pixels and labels of both splits."""
    digest = hashlib.sha256()
    for split in (data.train, data.test):
        for tensor in (split.images, split.labels):
            digest.update(tensor.contiguous().numpy().data)
        digest.update(f"{split.levels}".encode())
    return digest.hexdigest()


def load_cached(
    name: str,
    root: Path,
    make: Callable[[], Source],
    check_stop: Callable[[], None],
    is_current: Callable[[str], bool] = lambda _: True,
) -> DataSet:
    """A data set from its cache in `root`/cache/`name`, mapped; made first if it is not there.

    That of a version above 1 is in `root`/cache/`name`-v2. `is_current`: see `cached`.

    Raises:
        UserError: by `make`, or it makes another data set than the catalogue describes.
    """
    version = DATA_SETS[name].version
    folder = name if version == 1 else f"{name}-v{version}"
    return from_cache(name, cached(root / "cache" / folder, make, check_stop, is_current))


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
    """Split into (kept, held out): a fraction of every class, by the largest remainder.

    At least one sample of a class that has two or more is held out.
    """
    count = round(fraction * len(split))
    held_out = torch.zeros(len(split), dtype=torch.bool)
    held_out[stratified(split.labels, count, of_every_class=True)] = True
    return split.take(torch.nonzero(~held_out)[:, 0]), split.take(torch.nonzero(held_out)[:, 0])


def identified(data: DataSet) -> DataSet:
    """The same, with its checksum; over pixels and labels, if it has none."""
    return data if data.sha256 is not None else replace(data, sha256=checksum(data))
