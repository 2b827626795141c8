"""What benchmarks have in common: options, the machine in a line, rows of tables."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Sequence

import torch

from raat_core.cost.timing import hardware_name
from raat_core.files.provenance import hardware

METHODS = ("pgd-at", "trades", "mart", "cons-at", "raat", "raat++")


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


def ratios(slow: Sequence[float], fast: Sequence[float]) -> str:
    """Median (smallest–largest) of the rounds' ratios."""
    found = [one / other for one, other in zip(slow, fast, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f}–{max(found):.2f})"


def print_row(*cells: str) -> None:
    """A row of a Markdown table."""
    print("| " + " | ".join(cells) + " |", flush=True)
