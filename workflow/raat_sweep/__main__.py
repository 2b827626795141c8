"""`python -m raat_sweep`: print a config's results, or write the files made from the models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from raat_core.errors import UserError
from raat_sweep.config import read_config_file
from raat_sweep.items import product_names
from raat_sweep.plan import Plan
from raat_sweep.reference import write_reference


def main() -> int:
    """Run one command; returns the exit code, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m raat_sweep", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print a config's tables and where everything is")
    show.add_argument("config", type=Path)
    show.set_defaults(run=lambda options: print(show_results(options.config)))
    reference = commands.add_parser("reference", help="write config/defaults.yaml and the schemas")
    reference.add_argument("root", type=Path, nargs="?", default=Path())
    reference.set_defaults(run=lambda options: write_reference(options.root))
    options = parser.parse_args()
    try:
        options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def show_results(config: Path) -> str:
    """The tables that are there, and the paths of all products.

    Raises:
        UserError: the config is not valid.
    """
    plan = Plan(read_config_file(config))
    results = Path(plan.config.results)
    products = [results / name for item in plan.config.items for name in product_names(plan, item)]
    tables = [path.read_text() for path in products if path.suffix == ".md" and path.exists()]
    made = [f"  {path}" for path in (*products, results / "cells.csv") if path.exists()]
    return "\n".join([*tables, "Made:", *made])


if __name__ == "__main__":
    sys.exit(main())
