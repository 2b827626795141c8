"""A small convolutional network without BatchNorm."""

from __future__ import annotations

from torch import Tensor, nn


class GroupNet(nn.Module):
    """Three convolutions, each with GroupNorm and SiLU, the mean over pixels to logits."""

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in (
            (channels, width, 1),
            (width, width, 2),
            (width, 2 * width, 2),
        ):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.GroupNorm(8, outputs),
                nn.SiLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to logits (B, K)."""
        logits: Tensor = self.head(self.layers(2 * images - 1).mean((2, 3)))
        return logits
