"""From how many channels on Winograd's convolutions are quicker than the CPU library's.

    python benchmarks/convolutions.py [--batch-size 128] [--rounds 15]

Forward and gradient of the images, with frozen weights, in fp32, in turn: medians of milliseconds,
and medians (smallest–largest) of the rounds' ratios. Transforming the weights, which is done once
in an attack, is apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch

from raat_core.fast.cpu.memory import keep_freed_memory
from raat_core.fast.cpu.winograd import WinogradConv2d
from report import print_row, ratios

SHAPES = ((64, 32), (128, 16), (256, 8), (512, 4), (160, 32), (320, 16), (640, 8))
"""Channels and image size: of a ResNet-18, and of a WideResNet of width 10, on 32x32 images."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    print_row("channels", "image", "direct ms", "Winograd ms", "times as fast", "weights ms")
    print_row(*["---"] * 6)
    for channels, size in SHAPES:
        row(channels, size, options.batch_size, options.rounds)


def row(channels: int, size: int, batch_size: int, rounds: int) -> None:
    """Print one shape's."""
    direct = torch.nn.Conv2d(channels, channels, 3, padding=1).requires_grad_(False)
    direct = direct.to(memory_format=torch.channels_last)
    quick = WinogradConv2d(direct)
    images = torch.rand(batch_size, channels, size, size)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()

    def gradient(convolution: torch.nn.Module) -> None:
        convolved = convolution(images)
        torch.autograd.grad(convolved, images, convolved.detach())

    def transform() -> None:
        quick.forget()
        quick.kernels(transposed=False)
        quick.kernels(transposed=True)

    works: tuple[Callable[[], None], ...] = (
        transform,
        lambda: gradient(direct),
        lambda: gradient(quick),
    )
    times = [[seconds_of(work) for work in works] for _ in range(rounds + 1)][1:]
    weights, plain, winograd = zip(*times, strict=True)
    print_row(
        str(channels), f"{size}x{size}",
        *(f"{1e3 * statistics.median(some):.1f}" for some in (plain, winograd)),
        ratios(plain, winograd), f"{1e3 * statistics.median(weights):.1f}",
    )  # fmt: skip


def seconds_of(work: Callable[[], None]) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
