"""`python -m raat_sweep show`: a config's tables, and where everything is."""

from __future__ import annotations

from pathlib import Path

from raat_sweep.config.reading import read_config_file
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.description import product_names


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
