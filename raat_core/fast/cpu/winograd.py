"""3x3 convolutions of frozen weights with a quarter of the multiplications, for CPUs.

Winograd's F(4x4, 3x3), as in A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural
Networks", CVPR 2016, section 4.3: of a tile of 6 x 6 pixels, 4 x 4 outputs come from 36 products
for each pair of channels, instead of 144. cuDNN chooses such algorithms by itself; torch's library
for CPUs does not.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

CHANNELS = 160
"""From how many on it pays: transforming the images costs what grows with the channels, the
products saved grow with their square (benchmarks/convolutions.py)."""
_OUTPUTS, _TILE = 4, 6

_IMAGES = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNELS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_PRODUCTS = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
"""The transforms of one dimension, B^T, G and A^T of the paper."""


class WinogradConv2d(nn.Conv2d):
    """A convolution whose weight does not change between two calls of `forget`.

    It shares the parameters of the one it is made of. Images that are no whole number of tiles, and
    those for which gradients of the weight are asked, are convolved as ever.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take the place of `convolution`, which `can_take` said yes to."""
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            3,
            padding=1,
            bias=convolution.bias is not None,
            device="meta",  # Nothing is drawn, nothing is allocated.
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        self.train(convolution.training)
        self._kernels: dict[bool, Tensor] = {}

    @staticmethod
    def can_take(module: nn.Module) -> bool:
        """Whether the module is a convolution that this is for, and is quicker for."""
        return (
            type(module) is nn.Conv2d
            and module.weight.device.type == "cpu"
            and module.weight.dtype in (torch.float32, torch.float64)
            and min(module.in_channels, module.out_channels) >= CHANNELS
            and (module.kernel_size, module.padding) == ((3, 3), (1, 1))
            and (module.stride, module.dilation, module.groups) == ((1, 1), (1, 1), 1)
            and module.padding_mode == "zeros"
        )

    def forget(self) -> None:
        """Drop what was made of the weight: it changes, or is not needed for now."""
        self._kernels.clear()

    def forward(self, images: Tensor) -> Tensor:
        """Convolved images (N, outputs, H, W), channels_last, of (N, inputs, H, W)."""
        whole_tiles = images.shape[2] % _OUTPUTS == 0 == images.shape[3] % _OUTPUTS
        if not whole_tiles or images.dtype != self.weight.dtype or self.weight.requires_grad:
            return super().forward(images)
        convolved: Tensor = _Convolve.apply(images, self)
        return convolved

    @torch.no_grad()
    def kernels(self, *, transposed: bool) -> Tensor:
        """The weight transformed, (36, inputs, outputs); made once.

        Args:
            transposed: of the convolution that the gradient of the images is, whose kernels are
                turned round, and whose inputs are this one's outputs.
        """
        if transposed not in self._kernels:
            transform = _transform(_KERNELS, self.weight.dtype, transposed)
            outputs, inputs = self.weight.shape[:2]
            kernels = self.weight.permute(0, 2, 3, 1).reshape(outputs, 9, inputs)
            # Strided as the products take it: not a byte is moved again.
            order = (1, 0, 2) if transposed else (1, 2, 0)
            self._kernels[transposed] = torch.matmul(transform, kernels).permute(order)
        return self._kernels[transposed]


class _Convolve(torch.autograd.Function):
    """With the gradient of the images alone."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, convolution: WinogradConv2d) -> Tensor:
        ctx.kernels = partial(convolution.kernels, transposed=True)
        return _convolved(images, convolution.kernels(transposed=False), convolution.bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _convolved(gradient, ctx.kernels(), None), None


def _convolved(images: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """Images (N, inputs, H, W) with kernels (36, inputs, outputs), padded by one pixel."""
    products = torch.bmm(_tiles_of(images).transpose(0, 1), kernels)
    pixels = torch.matmul(_transform(_PRODUCTS, images.dtype), products.transpose(0, 1))
    return _assembled(pixels, (len(images), kernels.shape[2], *images.shape[2:]), bias)


def _tiles_of(images: Tensor) -> Tensor:
    """Transformed tiles (T, 36, C) of images (N, C, H, W), from left to right, row by row."""
    samples, channels, height, width = images.shape
    padded = images.new_zeros((samples, height + 2, width + 2, channels))
    padded[:, 1:-1, 1:-1] = images.permute(0, 2, 3, 1)
    tiles = padded.unfold(1, _TILE, _OUTPUTS).unfold(2, _TILE, _OUTPUTS)
    tiles = tiles.permute(0, 1, 2, 4, 5, 3).reshape(-1, _TILE**2, channels)
    return torch.matmul(_transform(_IMAGES, images.dtype), tiles)


def _assembled(pixels: Tensor, shape: tuple[int, ...], bias: Tensor | None) -> Tensor:
    """Images of `shape` (N, C, H, W), channels_last, of their tiles' pixels (T, 16, C)."""
    samples, channels, height, width = shape
    rows, columns = height // _OUTPUTS, width // _OUTPUTS
    pixels = pixels.view(samples, rows, columns, _OUTPUTS, _OUTPUTS, channels).transpose(2, 3)
    images = torch.empty(shape, dtype=pixels.dtype, memory_format=torch.channels_last)
    place = images.permute(0, 2, 3, 1).view(pixels.shape)
    if bias is None:
        place.copy_(pixels)
    else:
        torch.add(pixels, bias, out=place)
    return images


@cache
def _transform(
    of_a_row: tuple[tuple[float, ...], ...], dtype: torch.dtype, turned: bool = False
) -> Tensor:
    """Of both dimensions of a tile at once; turned round: of kernels in reverse."""
    rows = torch.tensor(of_a_row, dtype=torch.float64)
    if turned:
        rows = rows.flip(1)
    return torch.kron(rows, rows).to(dtype)
