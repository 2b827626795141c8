"""A training step beside the authors' own code, in turn, in one run.

    python benchmarks/vs_released.py PATH [--methods pgd-at raat] [--rounds 3]

PATH is a checkout of RAAT's released code (its folder `RAAT_Code_...` or the one above). Its
training functions are called as they are, with their attack of advertorch 0.2.3, which has to be
installed (`pip install advertorch==0.2.3`); on a machine without a GPU, their calls of `.cuda()` do
nothing. Both sides train a ResNet-18 with basic blocks in fp32: the released code's `resnet18` is
another network. Half of the samples are classified correctly, as in benchmarks/speed.py, whose
other options these are. On a GPU the released side computes in IEEE fp32 unless it says `--tf32`.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from sides.job import Job
from workers import run

from report import add_options, describe, print_row, ratios


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    add_options(parser)
    parser.add_argument("--tf32", action="store_true", help="on a GPU, TF32 on the released side")
    options = parser.parse_args()
    folder = _code_in(options.path)
    describe(options)
    print_row("method", "released s", *(f"ours {p}: times as fast" for p in options.precisions))
    print_row(*["---"] * (2 + len(options.precisions)))
    for method in options.methods:
        job = Job(
            "ours", method, batch_size=options.batch_size, threads=options.threads,
            device=options.device,
        )  # fmt: skip
        released = "tf32" if options.tf32 else "fp32"
        sides = [("released", replace(job, side=str(folder), precision=released))]
        sides += [(each, replace(job, precision=each)) for each in options.precisions]
        times, _ = run(sides, options.rounds)
        print_row(
            method,
            f"{statistics.median(times['released']):.2f}",
            *(ratios(times["released"], times[each]) for each in options.precisions),
        )


def _code_in(path: Path) -> Path:
    found = [path, *sorted(path.glob("RAAT_Code*"))]
    for folder in found:
        if (folder / "training" / "adv_train" / "adv_train_bd.py").is_file():
            return folder.resolve()
    raise SystemExit(f"{path} holds no training/adv_train/adv_train_bd.py: not the released code")


if __name__ == "__main__":
    main()
