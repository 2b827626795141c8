"""Archives of corrupted images as CIFAR-10-C is laid out, of any test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raat_core.data.dataset import Split


def eight_bits(test: Split) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(N, H, W, C)."""
    images, _ = test.batch(torch.arange(len(test)))
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = (
        images.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    )
    return pixels


def write_archive(folder: Path, test: Split, names: Sequence[str]) -> None:
    """Noise that grows with the severity, and that every corruption has more of than the last."""
    folder.mkdir(parents=True)
    labels = test.labels.numpy()
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    pixels = eight_bits(test)
    draws = np.random.default_rng(0)
    for number, name in enumerate(names):
        versions = [
            pixels + 15.0 * (number + 1) * severity * draws.standard_normal(pixels.shape)
            for severity in range(1, 6)
        ]
        whole = np.concatenate(versions).round().clip(0, 255).astype(np.uint8)
        np.save(folder / f"{name}.npy", whole)
