"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016), made of pre-activation blocks."""

from __future__ import annotations

from torch import nn

from raat_core.models.preact_resnet import PreActResNet


def wrn_28_10(channels: int, classes: int, image_size: int) -> PreActResNet:
    """WRN-28-10 without dropout: 36,479,194 parameters for 3 channels and 10 classes.

    Weights start as in RAAT's released code: convolutions from N(0, 2 / (k² outputs)), the linear
    layer's bias at 0, all else as PyTorch has it.
    """
    model = PreActResNet(
        channels, classes, image_size, 16, widths=(160, 320, 640), blocks=(4, 4, 4)
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(model.linear.bias)
    return model
