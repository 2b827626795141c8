"""Attacks that use models of other cells: these are planned and trained first, not attacked."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import GRID
from raat_core.cells.transfer import sources_of
from raat_core.errors import UserError
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan


def plan(source: Any = "next-seed", job: str = "gradient", **grid: Any) -> Plan:
    table = {
        "kind": "table",
        "title": "T",
        "metrics": ["clean", "other"],
        "grids": [{**GRID, "methods": ["PGD-AT", "TRADES"], "seeds": [0, 1], **grid}],
    }
    attacks = {
        "other": {"kind": "transfer", "title": "O", "steps": 10, "source": source, "job": job}
    }
    return Plan(read_config({"items": {"t": table}, "attacks": attacks}, "test"))


def test_the_next_seed_is_trained_too() -> None:
    made = plan()
    by_seed = [cell.seed for cell in made.cells.values()]
    assert sorted(by_seed) == [0, 0, 1, 1, 2, 2]
    assert {made.cells[cell].seed for cell, _ in made.jobs.lists} == {0, 1}
    for cell, attacks in made.jobs.lists:
        (source,) = made.jobs.sources(cell, attacks)
        attacked, used = made.cells[cell], made.cells[source]
        assert used == type(used).model_validate({**attacked.to_json(), "seed": attacked.seed + 1})
    assert {cell.seed for cell in made.helpers_of(["t"]).values()} == {2}


def test_a_named_cell_with_names_of_the_config() -> None:
    recipe = {"method": "pgd-at", "recipe": "rebat", "threat_model": "linf"}
    made = plan(recipe, methods=["TRADES"], seeds=[0])
    ((cell, attacks),) = made.jobs.lists
    (source,) = made.jobs.sources(cell, attacks)
    assert made.cells[source].method.name == "pgd-at"
    assert made.cells[source].recipe.epochs == 200
    (named,) = [
        each for a in made.jobs.lists[cell, attacks].attacks for each in sources_of(a).values()
    ]
    assert named.cell == source
    rows = [row["record"] for row in made.items["t"].rows]
    assert len(set(rows)) == 2


def test_what_cannot_be_is_refused_with_its_place() -> None:
    says = "attacks.other: source: is the attacked cell itself, which items.t asks for"
    with pytest.raises(UserError, match=says):
        plan({"method": "pgd-at"}, methods=["PGD-AT"])
    with pytest.raises(UserError, match="job = 'training': kind 'transfer' uses the model"):
        plan(job="training")
    with pytest.raises(UserError, match="must be `next-seed`"):
        plan("seed")
