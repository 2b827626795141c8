"""What several architectures are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raat_core.interface.operations import HALVED_FROM


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps (H, W) but for its stride; `size` is odd."""
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


def stem(channels: int, width: int, image_size: int) -> nn.Conv2d:
    """The first layer: (N, C, H, W) to (N, width, H, W), or (N, width, H/2, W/2) from 64x64 on.

    A 3x3 convolution without pooling. The paper does not say how 64x64 images (Tiny-ImageNet) are
    taken in; the code that made its numbers gives this convolution stride 2 there, in its ResNet
    and its WRN-28-10, and changes nothing else. Here all architectures do so: behind the stem a
    64x64 image is as large, and costs as much, as one of 32x32.
    """
    return convolution(channels, width, 3, stride=2 if image_size >= HALVED_FROM else 1)


class Normalisation(nn.Module):
    """(x - mean) / std for every channel of images (N, C, H, W) in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Constants of the architecture: no part of a checkpoint, nor of an average of weights.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images of the same shape."""
        return (images - self.mean) / self.std
