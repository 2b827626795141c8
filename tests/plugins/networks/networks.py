"""Two networks from outside the package, neither of which has a BatchNorm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raat_core.interface import Architecture, register

if TYPE_CHECKING:
    from torch import nn


@register(Architecture("vit-mini", title="ViT mini"))
def vit(channels: int, classes: int, image_size: int) -> nn.Module:
    """A vision transformer: patches of a quarter of a side, LayerNorm, two blocks, dropout."""
    from _vit import VisionTransformer

    return VisionTransformer(channels, classes, image_size)


@register(Architecture("group-net", title="GroupNorm + SiLU"))
def group_net(channels: int, classes: int, image_size: int) -> nn.Module:
    """Convolutions with GroupNorm and SiLU."""
    from _group_net import GroupNet

    return GroupNet(channels, classes)
