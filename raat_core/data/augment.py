"""Random crop and flip of a whole batch at once, on the device that holds it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from raat_core.specs.recipe import Augmentation


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop and flip every image by draws of its own: (B, C, H, W) float -> the same shape."""
    if settings.crop_padding:
        images = random_crop(images, settings, generator)
    if settings.flip:
        draws = torch.rand(len(images), device=images.device, generator=generator)
        images = torch.where((draws < 0.5)[:, None, None, None], images.flip(-1), images)
    return images


def random_crop(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Pad, then cut a window of the image's size at a random offset."""
    batch, channels, height, width = images.shape
    padding = settings.crop_padding
    mode = "constant" if settings.padding == "zero" else "reflect"
    padded = functional.pad(images, (padding,) * 4, mode=mode)
    offsets = torch.randint(2 * padding + 1, (2, batch), device=images.device, generator=generator)
    rows = offsets[0][:, None] + torch.arange(height, device=images.device)
    columns = offsets[1][:, None] + torch.arange(width, device=images.device)
    sample = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
