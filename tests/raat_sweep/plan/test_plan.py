"""Plans: cells are shared, jobs attack a cell once, and a change makes only what is new."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from raat_core.cells.evaluations import AutoAttackEvaluation
from raat_core.files.checksums import write_json
from raat_sweep.config.reading import read_config
from raat_sweep.cost.resources import resources_of_attacks
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.description import describe

DEMO = Path(__file__).resolve().parents[3] / "config/demo.yaml"


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
    assert len({cell for cell, _ in made.jobs.lists}) == len(made.jobs.lists)
    table1 = dict(made.jobs_of("table1"))
    for cell, attacks in made.jobs_of("figure5"):
        assert table1.get(cell, attacks) == attacks


def test_cells_that_two_grids_ask_for_count_once() -> None:
    config = demo()
    before = plan(config).items["table1"].rows
    config["items"]["table1"]["grids"] *= 2
    assert plan(config).items["table1"].rows == before


def test_jobs_cover_what_items_ask_for() -> None:
    made = plan(demo())
    for item in ("table1", "table5"):
        for row in made.items[item].rows:
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
    assert set(before.jobs.lists) <= set(after.jobs.lists)


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
    assert set(plan(changed).jobs.lists) == set(plan(config).jobs.lists)


def in_shards(shards: Any, **changes: Any) -> Plan:
    """The quick start's Table 1 on two architectures, its AutoAttack in a job of its own."""
    config = demo()
    aa = {"kind": "autoattack", "title": "AA", "batch_size": 100, "shards": shards, **changes}
    config["attacks"]["aa"] = aa
    grid = config["items"]["table1"]["grids"][0]
    grid.update(methods=["PGD-AT"], seeds=[0], architectures=["resnet-mini", "resnet-18"])
    config["items"] = {"table1": {**config["items"]["table1"], "ours": []}}
    return plan(config)


@pytest.mark.parametrize(
    ("shards", "expected"),
    [(3, [3, 3]), ({"resnet-18": 2}, [1, 2]), (8, [4, 4]), (1, [1, 1])],
)
def test_attack_lists_are_made_in_shards(shards: Any, expected: list[int]) -> None:
    """Of 360 test images there are four batches, and no more shards than that."""
    made = in_shards(shards)
    found = {
        made.cells[cell].architecture: count
        for (cell, attacks), count in made.jobs.shards.items()
        if made.jobs.lists[cell, attacks].attacks[0].kind == "autoattack"
    }
    assert [found["resnet-mini"], found["resnet-18"]] == expected
    assert set(made.jobs.lists) == set(in_shards(1).jobs.lists)
    others = [
        made.jobs.shards[job]
        for job in made.jobs.lists
        if "autoattack" not in str(made.jobs.lists[job])
    ]
    assert others == [1, 1]


def test_an_attacked_list_stays_in_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = in_shards(3)
    first, second = [pair for pair, count in made.jobs.shards.items() if count == 3]
    cells = tmp_path / made.config.results / "cells"
    write_json(cells / first[0] / f"joined_{first[1]}.json", {"shards": 4})
    write_json(cells / second[0] / f"attacked_{second[1]}.json", {})
    for asked in (1, 3):
        again = in_shards(asked)
        assert (again.jobs.shards[first], again.jobs.shards[second]) == (4, 1)
        assert again.jobs.summary_name(*first) == f"joined_{first[1]}.json"
        assert again.jobs.summary_name(*second) == f"attacked_{second[1]}.json"
    write_json(cells / first[0] / f"joined_{first[1]}.json", {})
    assert in_shards(3).jobs.shards[first] == 3, "a file that does not say is made again"


def test_a_shard_asks_for_its_share_of_the_time() -> None:
    made = in_shards(1)
    cell = next(c for c in made.cells.values() if c.architecture == "resnet-18")
    cell = cell.model_copy(update={"dataset": "cifar10"})
    attacks = (AutoAttackEvaluation(norm="linf", epsilon=Fraction(8, 255), samples=5000),)
    whole, share = (resources_of_attacks(cell, attacks, shards=shards) for shards in (1, 4))
    assert (share.gpu, share.mem_mb) == (whole.gpu, whole.mem_mb)
    assert share.runtime * 4 == whole.runtime < 1440
