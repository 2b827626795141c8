"""How long a training step takes, beside a textbook's, and how near it is to this machine's limit.

    python benchmarks/speed.py [--methods pgd-at raat] [--architectures resnet-18] [--rounds 3]
    python benchmarks/speed.py --switches        # each optimisation switched off alone
    python benchmarks/speed.py --ceiling         # only what this machine can do

All sides of a row take their steps in turn, each in a process of its own; the first step of each
does not count. Times are medians, ratios are medians of the rounds' ratios with the smallest and
the largest. The textbook (benchmarks/baseline.py) computes the same objectives, those of the
released code, always in IEEE fp32. "With input gradients" is the same textbook whose attacks do not
compute the gradients of all weights, as the releases of these methods do. "Of ceiling" is FLOP/s as
a part of what the network's own convolutions reach, forward, when nothing else runs between them,
in the same arithmetic, right before each round; where Winograd's convolutions save operations,
those saved count as done. The loader's processes are not in the textbook's memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch.nn import functional
from workers import Job, Worker

from raat_core.cost.flop import operations_of
from raat_core.cost.timing import hardware_name
from raat_core.fast.arithmetic import in_arithmetic, use_ieee_arithmetic
from raat_core.fast.cpu.memory import keep_freed_memory
from raat_core.files.provenance import hardware
from raat_core.interface.registry import method_class
from raat_core.models.build import build_model

METHODS = ("pgd-at", "trades", "mart", "cons-at", "raat", "raat++")
THROUGH_THE_WEIGHTS = ("pgd-at", "cons-at", "raat")
"""Methods whose releases attack by `backward()`."""
SWITCHES: dict[str, dict[str, Any]] = {
    "without input gradients alone": {"input_gradients": False},
    "without channels_last": {"channels_last": False},
    "without folded BatchNorm": {"fold": False},
    "without Winograd's convolutions": {"winograd": False},
    "without repeated forwards computed once": {"repeats": False},
    "without keeping freed memory": {"keep_memory": False},
}
Column = tuple[str, Job]


def main() -> None:
    """Print the tables that were asked for."""
    options = _options()
    torch.set_num_threads(options.threads)
    use_ieee_arithmetic()
    keep_freed_memory()  # A limit is what is reached under the best conditions.
    base = Job(
        side="ours",
        method="pgd-at",
        batch_size=options.batch_size,
        threads=options.threads,
        device=options.device,
    )
    describe(options)
    for architecture in options.architectures:
        print_ceilings(replace(base, architecture=architecture))
        if options.ceiling:
            continue
        rows = [replace(base, method=each, architecture=architecture) for each in options.methods]
        if options.switches:
            switches(rows, options.rounds)
        else:
            against_textbook(rows, options.precisions, options.rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--architectures", nargs="+", default=["resnet-18"])
    parser.add_argument("--switches", action="store_true")
    parser.add_argument("--ceiling", action="store_true")
    return parser.parse_args()


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured, how often, and on what."""
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=["fp32", "tf32", "attack", "bf16"],
        default=["fp32", "bf16"],
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def describe(options: argparse.Namespace) -> None:
    """Print what measures, and how."""
    facts = hardware(torch.device(options.device))
    print(
        f"{hardware_name(facts)}; torch {torch.__version__}, Python {platform.python_version()}; "
        f"batches of {options.batch_size}, {options.rounds} rounds\n",
        flush=True,
    )


def against_textbook(jobs: Iterable[Job], precisions: Sequence[str], rounds: int) -> None:
    """A row for every method and arithmetic."""
    print_row(
        "network", "method", "arithmetic", "textbook s", "ours s", "times as fast",
        "with input gradients: times as fast", "images/s", "GFLOP/s", "of ceiling", "textbook MiB",
        "ours MiB",
    )  # fmt: skip
    print_row(*["---"] * 12)
    for job in jobs:
        sides = [("textbook", replace(job, side="plain", input_gradients=False))]
        if job.method in THROUGH_THE_WEIGHTS:
            sides.append(("input gradients", replace(job, side="plain")))
        sides += [(each, replace(job, precision=each)) for each in precisions]
        limits: dict[str, list[float]] = {name: [] for name in precisions if name != "attack"}
        times, peaks = run(sides, rounds, partial(note_ceilings, job, limits))
        plain = times["textbook"]
        leaner = times.get("input gradients", plain)
        gflop = flop_of(job) / 1e9
        for name in precisions:
            seconds = statistics.median(times[name])
            part = "–"
            if name in limits:
                pairs = zip(times[name], limits[name], strict=True)
                part = f"{statistics.median(gflop / taken / most for taken, most in pairs):.0%}"
            print_row(
                job.architecture, job.method, name,
                f"{statistics.median(plain):.2f}", f"{seconds:.2f}", ratios(plain, times[name]),
                ratios(leaner, times[name]), f"{job.batch_size / seconds:.1f}",
                f"{gflop / seconds:,.0f}", part, f"{peaks['textbook']:,.0f}", f"{peaks[name]:,.0f}",
            )  # fmt: skip
    print(flush=True)


def switches(jobs: Iterable[Job], rounds: int) -> None:
    """What each optimisation brings: the time without it as a multiple of the time with all.

    One after the other: processes that keep their memory are many gigabytes together.
    """
    print_row("network", "method", "", "s", "with all s", "times as long", "MiB", "with all MiB")
    print_row(*["---"] * 8)
    for job in jobs:
        for name, off in SWITCHES.items():
            times, peaks = run([("all", job), (name, replace(job, **off))], rounds)
            print_row(
                job.architecture, job.method, name,
                *(f"{statistics.median(times[side]):.2f}" for side in (name, "all")),
                ratios(times[name], times["all"]),
                *(f"{peaks[side]:,.0f}" for side in (name, "all")),
            )  # fmt: skip
    print(flush=True)


def run(
    sides: Sequence[Column], rounds: int, before_a_round: Callable[[], None] = lambda: None
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every round and peak memory in MiB, by side; the rounds' steps alternate."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(job)) for name, job in sides}
        times: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(rounds):
            before_a_round()
            for name, worker in workers.items():
                times[name].append(worker.seconds())
        return times, {name: worker.finish() for name, worker in workers.items()}


def ratios(slow: Sequence[float], fast: Sequence[float]) -> str:
    """Median (smallest–largest) of the rounds' ratios."""
    found = [one / other for one, other in zip(slow, fast, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f}–{max(found):.2f})"


def flop_of(job: Job) -> float:
    """What our step computes; half of the samples are classified correctly."""
    cell = job.cell()
    passes = method_class(job.method)(cell.method).passes(cell.threat_model.steps, correct=0.5)
    return job.batch_size * passes.flop(operations_of(cell))


def print_row(*cells: str) -> None:
    """A row of a Markdown table."""
    print("| " + " | ".join(cells) + " |", flush=True)


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


if __name__ == "__main__":
    main()
