"""A small vision transformer, of torch's own layers (Dosovitskiy et al., ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VisionTransformer(nn.Module):
    """Sixteen patches to tokens, blocks of attention, the mean of the tokens to logits."""

    def __init__(
        self, channels: int, classes: int, image_size: int, width: int = 48, depth: int = 2
    ) -> None:
        super().__init__()
        size = image_size // 4
        self.patches = nn.Conv2d(channels, width, size, stride=size)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.05, activation="gelu", batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to logits (B, K)."""
        tokens = self.patches(2 * images - 1).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(self.norm(tokens).mean(1))
        return logits
