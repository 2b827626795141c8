"""Residual networks for small images (He et al., CVPR 2016): a 3x3 stem, no first pooling.

Weights start as PyTorch initialises them, as in the paper's released code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from raat_core.models.layers import convolution, stem


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Nothing, or a projection where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, activations after the addition."""

    expansion = 1
    """Channels that leave the block for each of its width."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, width, H/stride, W/stride)."""
        hidden = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        hidden = self.bn2(self.conv2(hidden)).add_(self.shortcut(images))
        return functional.relu(hidden, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide, and a shortcut.

    The stride is the 3x3 convolution's.
    """

    expansion = 4
    """Channels that leave the block for each of its width."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 4 width, H/stride, W/stride)."""
        hidden = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        hidden = functional.relu(self.bn2(self.conv2(hidden)), inplace=True)
        hidden = self.bn3(self.conv3(hidden)).add_(self.shortcut(images))
        return functional.relu(hidden, inplace=True)


class ResNet(nn.Module):
    """Stages of blocks; every stage after the first halves the image."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        channels: int,
        classes: int,
        image_size: int,
        widths: Sequence[int],
        blocks: Sequence[int],
    ) -> None:
        super().__init__()
        self.conv1 = stem(channels, widths[0], image_size)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages: list[nn.Module] = []
        inputs = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                stages.append(block(inputs, width, 2 if stage > 0 and index == 0 else 1))
                inputs = block.expansion * width
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W) in [0, 1]."""
        hidden = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        pooled = torch.mean(self.stages(hidden), dim=(2, 3))
        logits: Tensor = self.linear(pooled)
        return logits


def resnet_mini(channels: int, classes: int, image_size: int) -> ResNet:
    """Two stages of one block, widths 16 and 32: for images of 8x8 pixels and quick starts."""
    return ResNet(BasicBlock, channels, classes, image_size, widths=(16, 32), blocks=(1, 1))


_WIDTHS = (64, 128, 256, 512)


def resnet_18(channels: int, classes: int, image_size: int) -> ResNet:
    """ResNet-18: 11,173,962 parameters for 3 channels and 10 classes."""
    return ResNet(BasicBlock, channels, classes, image_size, widths=_WIDTHS, blocks=(2, 2, 2, 2))


def resnet_18_bottleneck(channels: int, classes: int, image_size: int) -> ResNet:
    """What RAAT's released code calls ResNet-18: ResNet-18 with bottlenecks for its blocks.

    26 layers, 2048 features and 13,958,986 parameters for 3 channels and 10 classes.
    """
    return ResNet(Bottleneck, channels, classes, image_size, widths=_WIDTHS, blocks=(2, 2, 2, 2))
