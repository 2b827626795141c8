"""Corrupted images: of an archive as CIFAR-10-C, or computed by the package that goes with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raat_core.cells.corruptions import MODULE, PACKAGE, SEVERITIES, Corruption
from raat_core.errors import UserError

Array = np.ndarray[Any, Any]
LABELS = "labels"
_SEEDED = ("impulse_noise", "glass_blur")
"""Of the package's functions: those that take their seed as an argument."""


class Archive:
    """The .npy files of one folder: five severities of a whole test set, one after the other.

    Raises:
        UserError: the labels' file is missing, or is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._labels = _array(folder / f"{LABELS}.npy")
        whole = self._labels.ndim == 1 and len(self._labels) % SEVERITIES == 0
        if not whole or self._labels.dtype.kind not in "iu":
            raise UserError(
                f"{folder / LABELS}.npy: must hold a class for each of {SEVERITIES} times the "
                f"test images, not {self._labels.dtype} of shape {self._labels.shape}"
            )
        self._size = len(self._labels) // SEVERITIES

    def images(self, name: Corruption, severity: int, index: Tensor, images: Tensor) -> Tensor:
        """Corrupted images (B, C, H, W) in [0, 1], as `images` are, of positions `index` (B,).

        Raises:
            UserError: the file is missing, or holds other images than the test set's.
        """
        path = self.folder / f"{name}.npy"
        stored = _array(path)
        channels, height, width = images.shape[1:]
        expected = (len(self._labels), height, width, channels)
        if stored.dtype != np.uint8 or stored.shape != expected:
            raise UserError(
                f"{path}: must be uint8 of shape {expected}, not {stored.dtype} of shape "
                f"{stored.shape}"
            )
        rows = (severity - 1) * self._size + index.cpu().numpy()
        return _as_images(stored[rows], images)

    def check_labels(self, index: Tensor, labels: Tensor) -> None:
        """Refuse an archive of other test images, as far as their classes (B,) tell.

        Raises:
            UserError: there are too few, or one of them is of another class.
        """
        positions, expected = index.cpu().numpy(), labels.cpu().numpy()
        if positions.max() >= self._size:
            raise UserError(
                f"{self.folder}: has {self._size} test images, and the one at "
                f"{positions.max()} is attacked"
            )
        for severity in range(SEVERITIES):
            found = self._labels[severity * self._size + positions]
            if (found != expected).any():
                at = int((found != expected).argmax())
                raise UserError(
                    f"{self.folder / LABELS}.npy: says class {found[at]} of test image "
                    f"{positions[at]}, which is of class {expected[at]}: it is of other test images"
                )


def _array(path: Path) -> Array:
    """A file's array, mapped."""
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is no whole .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} is no .npy file of one array")
    return array


def _as_images(pixels: Array, like: Tensor) -> Tensor:
    """uint8 (B, H, W, C) -> (B, C, H, W) in [0, 1]."""
    found = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).contiguous()
    return found.to(like.device, like.dtype).div(255)


def computed(name: Corruption, severity: int, index: Tensor, images: Tensor, seed: int) -> Tensor:
    """Corrupted images (B, C, H, W) in [0, 1], computed from 8-bit ones.

    What is drawn is a function of the seed, the corruption, the severity and the image's position.

    Args:
        name: of the corruption.
        severity: 1 to 5.
        index: (B,) positions in the test set.
        images: (B, 3, H, W) in [0, 1], of at least 32 pixels a side.
        seed: of all draws.
    """
    pixels = images.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    made = [
        _corrupted(image, name, severity, f"{seed}|{name}|{severity}|{position}")
        for image, position in zip(pixels, index.tolist(), strict=True)
    ]
    return _as_images(np.stack(made), images)


def _corrupted(image: Array, name: Corruption, severity: int, purpose: str) -> Array:
    try:
        from imagecorruptions import corrupt
    except ImportError as error:
        raise UserError(f"attack 'corruptions': {PACKAGE} ({MODULE}) fails: {error}") from None

    seed = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:4], "big")
    more = {"seed": seed} if name in _SEEDED else {}
    with _numpy_seeded(seed):
        found: Array = corrupt(image, corruption_name=name, severity=severity, **more)
    return found


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator, which the package draws from."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
