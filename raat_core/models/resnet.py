"""Residual networks for small images (He et al., CVPR 2016): a 3x3 stem, no first pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, activations after the addition."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(images)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images))


class ResNet(nn.Module):
    """Stages of basic blocks; every stage after the first halves the image."""

    def __init__(
        self,
        channels: int,
        classes: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, widths[0], 3, stem_stride)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages: list[nn.Module] = []
        inputs = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(inputs, width, stride))
                inputs = width
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        hidden = functional.relu(self.bn1(self.conv1(images)))
        pooled = torch.mean(self.stages(hidden), dim=(2, 3))
        logits: Tensor = self.linear(pooled)
        return logits


def resnet_mini(channels: int, classes: int) -> ResNet:
    """Two stages of one block, widths 16 and 32: for images of 8x8 pixels and quick starts."""
    return ResNet(channels, classes, widths=(16, 32), blocks=(1, 1))


def resnet_18(channels: int, classes: int) -> ResNet:
    """ResNet-18 for 32x32 images: 11,173,962 parameters for 3 channels and 10 classes."""
    return ResNet(channels, classes, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2))
