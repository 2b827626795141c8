"""What this machine can do: convolutions and products of matrices alone, in GFLOP/s."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from sides.job import Job
from torch.nn import functional

from raat_core.fast.arithmetic import in_arithmetic
from raat_core.models.build import build_model
from report import print_row


@dataclass(frozen=True)
class Ceiling:
    """What convolutions of a network reach alone, forward, in GFLOP/s."""

    fastest_shape: float
    all_shapes: float


def ceiling(job: Job, arithmetic: str) -> Ceiling:
    """Of a job's network and batch, in an arithmetic."""
    shapes = convolutions(job.architecture)
    flops = [
        2 * job.batch_size * outputs * inputs * kernel**2 * (size // stride) ** 2
        for inputs, outputs, kernel, stride, size in shapes
    ]
    dtype = torch.bfloat16 if arithmetic == "bf16" else torch.float32
    with in_arithmetic(arithmetic):  # type: ignore[arg-type]
        times = [convolution_seconds(each, job.batch_size, dtype, job.device) for each in shapes]
    rates = [flop / seconds / 1e9 for flop, seconds in zip(flops, times, strict=True)]
    return Ceiling(max(rates), sum(flops) / sum(times) / 1e9)


def note_ceilings(job: Job, limits: dict[str, list[float]]) -> None:
    """Measure each arithmetic's, and add it to its list."""
    for name, found in limits.items():
        found.append(ceiling(job, name).all_shapes)


def print_ceilings(job: Job) -> None:
    """What this machine can do, in GFLOP/s: convolutions and products of matrices."""
    print_row(
        "arithmetic", "matmul 2048 GFLOP/s", "fastest convolution", f"those of {job.architecture}"
    )
    print_row(*["---"] * 4)
    for name in ("fp32", "tf32", "bf16") if job.device != "cpu" else ("fp32", "bf16"):
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        with in_arithmetic(name):
            matmul = 2 * 2048**3 / matmul_seconds(dtype, job.device) / 1e9
        found = ceiling(job, name)
        print_row(name, f"{matmul:,.0f}", f"{found.fastest_shape:,.0f}", f"{found.all_shapes:,.0f}")
    print(flush=True)


def matmul_seconds(dtype: torch.dtype, device: str) -> float:
    """Of a product of two matrices of 2048 rows and columns."""
    matrix = torch.randn(2048, 2048, device=device).to(dtype)
    return fastest(lambda: matrix @ matrix, device)


@cache
def convolutions(architecture: str) -> list[tuple[int, int, int, int, int]]:
    """Inputs, outputs, kernel, stride and image size of each convolution, on 32x32 images."""
    found = []
    model = build_model(architecture, 3, 10, 0)

    def note(layer: torch.nn.Conv2d, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
        size = inputs[0].shape[-1]
        found.append(
            (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], size)
        )

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    return found


def convolution_seconds(
    shape: tuple[int, int, int, int, int], batch_size: int, dtype: torch.dtype, device: str
) -> float:
    """Of one forward, weights and images channels_last."""
    inputs, outputs, kernel, stride, size = shape
    images = torch.randn(batch_size, inputs, size, size, device=device)
    weight = torch.randn(outputs, inputs, kernel, kernel, device=device)
    images = images.to(dtype, memory_format=torch.channels_last)
    weight = weight.to(dtype, memory_format=torch.channels_last)
    with torch.no_grad():
        return fastest(
            lambda: functional.conv2d(images, weight, padding=kernel // 2, stride=stride), device
        )


def fastest(work: Callable[[], object], device: str, repeats: int = 7) -> float:
    """Seconds of the fastest repetition."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])
