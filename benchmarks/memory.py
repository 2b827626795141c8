"""What becomes of freed memory on a CPU: time and peak of a step under several settings.

    python benchmarks/memory.py [--methods pgd-at raat] [--rounds 3]

"By the program" is `raat_core/fast/cpu/memory.py`. The others leave it out; they set glibc's
tunables in the environment, or nothing. All sides take their steps in turn, each in a process of
its own; ratios are to "by the program", medians of the rounds' with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import replace

from sides.job import Job
from workers import run

from report import METHODS, describe, print_row, ratios

KEEP = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=18446744073709551615"
"""No block gets pages of its own, and none are given back."""
SETTINGS = {
    "tunables": f"{KEEP}:glibc.malloc.mxfast=0",
    "huge pages": "glibc.malloc.hugetlb=1",
    "nothing": "",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["pgd-at", "raat"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.set_defaults(device="cpu")
    options = parser.parse_args()
    describe(options)
    print_row("method", "setting", "s", "times as long", "MiB", "times as much")
    print_row(*["---"] * 6)
    for method in options.methods:
        ours = Job("ours", method, batch_size=options.batch_size, threads=options.threads)
        sides = [("by the program", ours)]
        sides += [
            (name, replace(ours, keep_memory=False, tunables=tunables))
            for name, tunables in SETTINGS.items()
        ]
        times, peaks = run(sides, options.rounds)
        for name, _ in sides:
            print_row(
                method, name, f"{statistics.median(times[name]):.2f}",
                ratios(times[name], times["by the program"]), f"{peaks[name]:,.0f}",
                f"{peaks[name] / peaks['by the program']:.2f}",
            )  # fmt: skip


if __name__ == "__main__":
    main()
