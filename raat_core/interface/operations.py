"""Floating-point operations, counted from shapes alone: of a forward pass and of what uses it.

Counted are convolutions and matrix products, a multiplication and an addition as two operations, as
`torch.utils.flop_counter` does; BatchNorm, activations and losses are not. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from raat_core.validation import suggest

ImageShape: TypeAlias = tuple[int, int, int]
"""Channels, height, width."""
HALVED_FROM = 64
"""Images of at least this many pixels a side are halved by the first convolution."""


@dataclass(frozen=True)
class Operations:
    """FLOP of a model for one image."""

    forward: float
    """Of a forward pass."""
    stem: float
    """Of the part of it that is the first convolution."""

    @property
    def gradient(self) -> float:
        """Of a forward pass and the gradient with respect to the image: a step of an attack.

        The gradients of the weights are not asked for, and torch does not compute them.
        """
        return 2 * self.forward

    @property
    def update(self) -> float:
        """Of a forward pass and the gradients of the weights; the image's is not needed."""
        return 3 * self.forward - self.stem


@dataclass(frozen=True)
class Passes:
    """How often something sends an image through a model; means, where it depends on the data."""

    forwards: float = 0.0
    """Without gradients."""
    gradients: float = 0.0
    """Forward, and backward to the image: steps of attacks."""
    updates: float = 0.0
    """Forward, and backward to the weights."""

    def __add__(self, other: Passes) -> Passes:
        """Both, one after the other."""
        return Passes(
            self.forwards + other.forwards,
            self.gradients + other.gradients,
            self.updates + other.updates,
        )

    def __rmul__(self, times: float) -> Passes:
        """The same several times, or for a share of the images."""
        return Passes(times * self.forwards, times * self.gradients, times * self.updates)

    def flop(self, model: Operations) -> float:
        """FLOP of these passes for one image."""
        return (
            self.forwards * model.forward
            + self.gradients * model.gradient
            + self.updates * model.update
        )


@dataclass(frozen=True)
class ResidualNetwork:
    """The convolutions of a residual network for small images, as `raat_core.models` builds it.

    A 3x3 stem, stages of blocks of which every one after the first halves the image, and a linear
    layer. Where a block changes the shape, its shortcut is a 1x1 convolution.
    """

    block: Literal["basic", "bottleneck"]
    stem_width: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.block not in ("basic", "bottleneck"):
            raise ValueError(
                f"block = {self.block!r}{suggest(self.block, ('basic', 'bottleneck'))}"
            )

    def operations(self, image_shape: ImageShape, classes: int) -> Operations:
        """For images (C, H, W) and so many classes."""
        channels, height, width = image_shape
        if min(height, width) >= HALVED_FROM:
            height, width = _half(height), _half(width)
        stem = _convolution(channels, self.stem_width, 3, height * width)
        forward, inputs = stem, self.stem_width
        for outputs, stride in self._blocks():
            before = height * width
            if stride == 2:
                height, width = _half(height), _half(width)
            forward += self._block(inputs, outputs, stride, before, height * width)
            inputs = outputs
        return Operations(forward + 2 * inputs * classes, stem)

    @property
    def _expansion(self) -> int:
        return 4 if self.block == "bottleneck" else 1

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Channels that leave each block, and its stride."""
        for stage, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for index in range(count):
                yield self._expansion * width, 2 if stage > 0 and index == 0 else 1

    def _block(self, inputs: int, outputs: int, stride: int, before: int, after: int) -> float:
        """`before` and `after` are the pixels of what enters and of what leaves."""
        width = outputs // self._expansion
        shortcut = _convolution(inputs, outputs, 1, after)
        flop = shortcut if stride != 1 or inputs != outputs else 0.0
        if self.block == "basic":
            flop += _convolution(inputs, width, 3, after)
            return flop + _convolution(width, outputs, 3, after)
        flop += _convolution(inputs, width, 1, before)
        flop += _convolution(width, width, 3, after)
        return flop + _convolution(width, outputs, 1, after)


def _half(size: int) -> int:
    """Of a side, behind a padded convolution of stride 2."""
    return (size + 1) // 2


def _convolution(inputs: int, outputs: int, size: int, pixels: int) -> float:
    """Of `size`², with so many pixels in its output."""
    return 2.0 * inputs * outputs * size**2 * pixels
