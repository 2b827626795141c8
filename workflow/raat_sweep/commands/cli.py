"""`python -m raat_sweep`: what a config will cost, its cells, its results; or generated files."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from raat_core.commands.arguments import Parser, whole_number
from raat_core.errors import UserError
from raat_core.validation import one_line
from raat_sweep.commands.plan import show_plan
from raat_sweep.commands.show import show_results
from raat_sweep.commands.trace import trace
from raat_sweep.commands.watch import DEFAULT_CONFIG, watch
from raat_sweep.config.generated import write_reference


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for bad input, 130 after Ctrl-C."""
    parser = Parser(prog="python -m raat_sweep", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print a config's tables and where everything is")
    show.add_argument("config", type=Path)
    show.set_defaults(run=lambda options: print(show_results(options.config)))
    watching = commands.add_parser(
        "watch", help="every cell of a sweep: its state, progress, hours"
    )
    watching.add_argument("config", type=Path, nargs="?", default=DEFAULT_CONFIG)
    watching.add_argument(
        "--every", type=_seconds, default=5.0, metavar="SECONDS", help="between looks; default: 5"
    )
    watching.add_argument("--once", action="store_true", help="print all cells once and exit")
    watching.set_defaults(run=lambda options: watch(options.config, options.every, options.once))
    ahead = commands.add_parser("plan", help="what is left of a sweep, and how long it will take")
    ahead.add_argument("config", type=Path, nargs="?", default=DEFAULT_CONFIG)
    ahead.add_argument("items", nargs="*", metavar="ITEM", help="tables and figures; default: all")
    ahead.add_argument(
        "--gpu", metavar="NAME", help="hours on this GPU; default: what was measured most"
    )
    ahead.set_defaults(
        run=lambda options: print(show_plan(options.config, options.items, options.gpu))
    )
    tracing = commands.add_parser("trace", help="where a number of a table comes from")
    tracing.add_argument("table", type=Path, help="one of its files, as results/table1.csv")
    tracing.add_argument(
        "--row",
        nargs="+",
        default=[],
        metavar="WORD",
        help="the method's label; if need be data set, architecture, norm, epsilon, variant, too",
    )
    tracing.add_argument("--column", metavar="TITLE", help="the column's title or metric")
    tracing.add_argument("--seed", type=whole_number(2**31 - 1, 0), help="this one alone")
    tracing.set_defaults(
        run=lambda options: print(trace(options.table, options.row, options.column, options.seed))
    )
    reference = commands.add_parser("reference", help="write config/defaults.yaml and the schemas")
    reference.add_argument("root", type=Path, nargs="?", default=Path())
    reference.set_defaults(run=lambda options: write_reference(options.root))
    options = parser.parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `... | head` has read enough; nothing is left to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # A disk or a path that nothing above expected.
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 0.1 to 86400")
    return value
