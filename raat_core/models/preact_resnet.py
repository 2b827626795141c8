"""Pre-activation residual networks for small images (He et al., ECCV 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from raat_core.models.layers import Normalisation, convolution, stem


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each behind BatchNorm and ReLU, and a shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input; elsewhere it
    is the input itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = convolution(inputs, outputs, 1, stride)

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        activated = functional.relu(self.bn1(images), inplace=True)
        shortcut = images if self.shortcut is None else self.shortcut(activated)
        hidden = functional.relu(self.bn2(self.conv1(activated)), inplace=True)
        summed: Tensor = self.conv2(hidden).add_(shortcut)
        return summed


class PreActResNet(nn.Module):
    """Stages of pre-activation blocks; every stage after the first halves the image."""

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: int,
        stem_width: int,
        widths: Sequence[int],
        blocks: Sequence[int],
    ) -> None:
        super().__init__()
        self.conv1 = stem(channels, stem_width, image_size)
        stages: list[nn.Module] = []
        inputs = stem_width
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                stages.append(PreActBlock(inputs, width, 2 if stage > 0 and index == 0 else 1))
                inputs = width
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        hidden = functional.relu(self.bn(self.stages(self.conv1(images))), inplace=True)
        pooled = torch.mean(hidden, dim=(2, 3))
        logits: Tensor = self.linear(pooled)
        return logits


def preact_resnet_18(channels: int, classes: int, image_size: int) -> PreActResNet:
    """PreActResNet-18: 11,172,170 parameters for 3 channels and 10 classes.

    Weights start as PyTorch initialises them, as in the released code.
    """
    return PreActResNet(
        channels, classes, image_size, 64, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2)
    )


CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2471, 0.2435, 0.2616)
"""Of the training set's pixels, by channel, in [0, 1]."""


def preact_resnet_18_normalised(channels: int, classes: int, image_size: int) -> nn.Sequential:
    """PreActResNet-18 behind CIFAR-10's normalisation: the released RAAT#, on CIFAR-100 too."""
    assert channels == len(CIFAR10_MEAN), "the catalogue says so"
    return nn.Sequential(
        Normalisation(CIFAR10_MEAN, CIFAR10_STD), preact_resnet_18(channels, classes, image_size)
    )
