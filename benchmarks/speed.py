"""How long a training step takes, beside a textbook's, and how near it is to this machine's limit.

    python benchmarks/speed.py [--methods pgd-at raat] [--architectures resnet-18] [--rounds 3]
    python benchmarks/speed.py --switches        # each optimisation switched off alone
    python benchmarks/speed.py --ceiling         # only what this machine can do

All sides of a row take their steps in turn, each in a process of its own; the first step of each
does not count. Times are medians, ratios are medians of the rounds' ratios with the smallest and
the largest. The textbook (benchmarks/sides/baseline.py) computes the same objectives, those of the
released code, always in IEEE fp32. "With input gradients" is the same textbook whose attacks do not
compute the gradients of all weights, as the releases of these methods do. "Of ceiling" is FLOP/s as
a part of what the network's own convolutions reach, forward, when nothing else runs between them,
in the same arithmetic, right before each round; where Winograd's convolutions save operations,
those saved count as done. The loader's processes are not in the textbook's memory.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from ceilings import note_ceilings, print_ceilings
from sides.job import Job
from workers import run

from raat_core.cost.flop import operations_of
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.cpu.memory import keep_freed_memory
from raat_core.interface.registry import build_method
from report import add_options, describe, print_row, ratios

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


def flop_of(job: Job) -> float:
    """What our step computes; half of the samples are classified correctly."""
    cell = job.cell()
    passes = build_method(cell.method, cell.facts()).passes(cell.threat_model.steps, correct=0.5)
    return job.batch_size * passes.flop(operations_of(cell))


if __name__ == "__main__":
    main()
