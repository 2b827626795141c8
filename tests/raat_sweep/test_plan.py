"""Plans: cells are shared, jobs attack a cell once, and a change makes only what is new."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from raat_sweep.config import read_config
from raat_sweep.items import describe
from raat_sweep.plan import Plan

DEMO = Path(__file__).resolve().parents[2] / "config/demo.yaml"


def demo() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(DEMO.read_text())
    return config


def plan(config: dict[str, Any]) -> Plan:
    return Plan(read_config(config, "test"))


def cells_of(made: Plan, item: str) -> set[str]:
    return {row["cell"] for row in describe(made, item)["rows"]}


def test_items_share_cells() -> None:
    made = plan(demo())
    figure5, table1 = cells_of(made, "figure5"), cells_of(made, "table1")
    raat = {name for name in table1 if "_raat_" in name}
    assert len(raat) == 2
    assert raat <= figure5
    # eta = 0.1 and lambda = 1 are RAAT's defaults, lambda = 6 those of TRADES and MART.
    assert not any("eta-0.1_" in name or "raat-lambda-1" in name for name in made.cells)


def test_a_cell_is_attacked_by_one_job_of_a_kind() -> None:
    made = plan(demo())
    assert len({cell for cell, _ in made.jobs}) == len(made.jobs)
    table1 = dict(made.jobs_of("table1"))
    for cell, attacks in made.jobs_of("figure5"):
        assert table1.get(cell, attacks) == attacks


def test_jobs_cover_what_items_ask_for() -> None:
    made = plan(demo())
    for item in ("table1", "table5"):
        for row in made.rows_of(item):
            lists = [attacks for cell, attacks in made.jobs_of(item) if cell == row["cell"]]
            assert lists


def test_a_new_seed_adds_cells_and_changes_none() -> None:
    before = plan(demo())
    config = demo()
    config["items"]["table1"]["grids"][0]["seeds"] = [0, 1, 2]
    after = plan(config)
    new = set(after.cells) - set(before.cells)
    assert set(before.cells) <= set(after.cells)
    assert len(new) == 6
    assert all("_s2_" in name for name in new)
    assert set(before.jobs) <= set(after.jobs)


def test_one_changed_lambda_changes_only_its_cells() -> None:
    before = plan(demo())
    config = demo()
    config["methods"]["MART"] = {"name": "mart", "lambda": 5}
    after = plan(config)
    gone, new = set(before.cells) - set(after.cells), set(after.cells) - set(before.cells)
    assert {name.split("_")[3] for name in new} == {"mart-lambda-5.0"}
    assert all("_mart" in name for name in gone)


def test_titles_and_labels_are_no_part_of_a_cell() -> None:
    config = demo()
    changed = copy.deepcopy(config)
    changed["items"]["table1"]["title"] = "another"
    changed["attacks"]["aa"]["title"] = "another"
    changed["methods"]["my RAAT"] = changed["methods"].pop("RAAT")
    text = yaml.safe_dump(changed["items"]).replace("- RAAT\n", "- my RAAT\n")
    changed["items"] = yaml.safe_load(text)
    assert set(plan(changed).cells) == set(plan(config).cells)
    assert set(plan(changed).jobs) == set(plan(config).jobs)
