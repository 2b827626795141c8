"""Needed cells and extra data in configs: names, plans, budgets, watching, reasons of gaps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import GRID, TOY_DISTILLATION
from raat_core.cells.folder import CellFolder
from raat_core.cells.spec import write_spec
from raat_core.errors import UserError
from raat_core.files.checksums import write_json
from raat_sweep.commands.plan import render as render_plan
from raat_sweep.config.reading import read_config
from raat_sweep.cost.budget import HELPERS, estimate
from raat_sweep.monitor.failures import Failures
from raat_sweep.monitor.sweep import sweep_status
from raat_sweep.numbers.accuracies import measure
from raat_sweep.numbers.outcomes import Records
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.description import describe, describe_cells


def plan_of(*, teacher: Any = None, methods: tuple[str, ...] = ("KD",), **config: Any) -> Plan:
    settings = {"name": "distillation", "teacher": teacher or {"method": "pgd-at"}}
    grid = {**GRID, "methods": list(methods)}
    table = {"kind": "table", "title": "T", "metrics": ["clean"], "grids": [grid]}
    return Plan(
        read_config(
            {
                "plugins": [str(TOY_DISTILLATION)],
                "methods": {"KD": settings, "KD 2": {**settings, "begin": {"method": "trades"}}},
                "items": {"tiny": table},
                **config,
            },
            "test",
        )
    )


RECIPES = {"short": {"epochs": 3, "decay_epochs": [2]}}


def test_names_of_the_config_are_looked_up() -> None:
    teacher = {
        "method": "pgd-at",
        "recipe": "short",
        "threat_model": "l2",
        "architecture": "small",
        "seed": 7,
    }
    plan = plan_of(teacher=teacher, recipes=RECIPES, architectures={"small": "resnet-18"})
    (shown,) = plan.items["tiny"].cells
    helper = shown.needs["teacher"].cell
    assert (helper.recipe.epochs, helper.threat_model.norm, helper.seed) == (3, "l2", 7)
    assert helper.architecture == "resnet-18"
    assert list(plan.cells) == [shown.name, helper.name]


def test_helpers_count_once_and_are_shared_with_tables() -> None:
    plan = plan_of(methods=("KD", "KD 2"))
    assert len(plan.items["tiny"].cells) == 2
    helpers = plan.helpers_of(["tiny"])
    assert sorted(cell.method.name for cell in helpers.values()) == ["pgd-at", "trades"]
    plan = plan_of(methods=("KD", "KD 2", "PGD-AT"))
    assert [cell.method.name for cell in plan.helpers_of(["tiny"]).values()] == ["trades"]
    assert len(plan.cells) == 4


def test_needs_of_needs_are_part_of_the_plan() -> None:
    inner = {"name": "distillation", "teacher": {"method": "trades", "recipe": "short"}}
    plan = plan_of(teacher={"method": inner}, recipes=RECIPES)
    names = [cell.method.name for cell in plan.cells.values()]
    assert names == ["distillation", "distillation", "trades"]
    assert list(plan.cells.values())[2].recipe.epochs == 3


def test_the_plan_has_a_line_for_helpers(tmp_path: Path) -> None:
    plan = plan_of(methods=("KD", "KD 2"), results=str(tmp_path.relative_to("/")))
    budget = estimate(plan)
    lines = {line.name: line for line in budget.lines}
    assert (lines["tiny"].cells, lines["tiny"].jobs) == (2, 2)
    assert (lines[HELPERS].cells, lines[HELPERS].jobs) == (2, 0)
    assert budget.total.cells == 4
    assert budget.total.cost.flop == pytest.approx(sum(line.cost.flop for line in budget.lines))
    assert budget.shared == 0
    assert "needed cells" in render_plan(budget)


def test_helpers_are_watched_and_not_attacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_of()
    shown, helper = plan.cells.values()
    rows = {row.cell: row for row in sweep_status(plan, Path("journal")).rows}
    assert [rows[shown.name].state, rows[shown.name].note] == ["waiting", "for its teacher"]
    assert [rows[helper.name].state, rows[helper.name].note] == ["waiting", ""]
    finish(CellFolder(Path("results/cells") / helper.name), helper)
    rows = {row.cell: row for row in sweep_status(plan, Path("journal")).rows}
    assert rows[helper.name].state == "done"
    assert rows[shown.name].note == ""
    assert describe_cells(plan)["summaries"] == [
        [shown.name, plan.jobs.summary_name(*job)] for job in plan.jobs.lists
    ]


def finish(folder: CellFolder, cell: Any) -> None:
    write_spec(folder, cell)
    write_json(folder.manifest, {"sessions": []})


def test_a_gap_says_what_it_waits_for_and_why(tmp_path: Path) -> None:
    inner = {"name": "distillation", "teacher": {"method": "trades"}}
    plan = plan_of(teacher={"method": inner})
    _, middle, last = plan.cells
    description, records = describe(plan, "tiny"), Records(tmp_path / "cells")
    assert set(description["needs"][middle]) == {"teacher"}
    log = tmp_path / f"logs/train/{last}.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: out of memory\n")
    failures = Failures(tmp_path, description["needs"])
    (number,) = measure(description["rows"], records, failures).to_dict("records")
    waits = "not trained: it waits for its teacher's teacher"
    assert number["gap"] == f"{waits}: out of memory (cell {last})"
    assert number["log"] == str(log)
    log.unlink()
    failures = Failures(tmp_path, description["needs"])
    (number,) = measure(description["rows"], records, failures).to_dict("records")
    assert number["gap"] == f"{waits} (cell {last})"
    assert number["log"] == ""
    assert "needs" not in describe(plan_of(methods=("PGD-AT",)), "tiny")


def test_varied_needs_are_told_apart_by_their_methods() -> None:
    grid = {
        **GRID,
        "methods": ["KD"],
        "vary": {"teacher": [{"method": "pgd-at"}, {"method": "wa"}]},
    }
    table = {"kind": "table", "title": "T", "metrics": ["clean"], "grids": [grid]}
    plan = plan_of(items={"tiny": table})
    rows = [row["method"] for row in plan.items["tiny"].rows]
    assert rows == ["KD (teacher = pgd-at)", "KD (teacher = wa)"]


INNER: Mapping[str, Any] = {"name": "distillation"}
EXTRA: Mapping[str, Any] = {"dataset": "digits", "share": 0.25}


def with_extra(**extra: Any) -> Plan:
    recipes = {"default": {"extra_data": {**EXTRA, **extra}}, "plain": {}}
    return plan_of(methods=("PGD-AT",), recipes=recipes)


def test_a_recipe_brings_its_extra_data() -> None:
    plan = with_extra(labels={"method": "trades", "recipe": "plain"})
    (shown,) = plan.items["tiny"].cells
    assert shown.extra_data is not None
    assert (shown.extra_data.dataset, shown.extra_data.share) == ("digits", 0.25)
    assert [cell.method.name for cell in plan.cells.values()] == ["pgd-at", "trades"]
    assert shown.recipe == shown.needs["extra_data.labels"].cell.recipe
    protocol = describe(plan, "tiny")["protocol"]
    assert "of every batch 0.25 extra data (Digits, labels by trades)" in " ".join(protocol)


def test_a_teacher_of_a_recipe_with_extra_data_has_it_too() -> None:
    recipes = {"semi": {"extra_data": {**EXTRA, "labels": {"method": "trades"}}}}
    plan = plan_of(teacher={"method": "pgd-at", "recipe": "semi"}, recipes=recipes)
    shown, teacher, labeller = plan.cells.values()
    assert shown.extra_data is None
    assert teacher.extra_data is not None
    assert list(teacher.needs.values()) == [(labeller, "best")]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"teacher": {"method": "pgd-at", "recipe": "shrot"}, "recipes": RECIPES},
         "methods.KD.teacher.recipe = 'shrot'; did you mean 'short'?"),
        ({"teacher": {"method": "pgd-at", "threat_model": "l3"}},
         "methods.KD.teacher.threat_model = 'l3'; did you mean 'l2'?"),
        ({"teacher": {"method": "pgd-at", "dataset": "digit"}},
         "methods.KD.teacher.dataset = 'digit'; did you mean 'digits'?"),
        ({"teacher": {"method": {**INNER, "teacher": {"method": "wa", "recipe": "x"}}}},
         "methods.KD.teacher.method.teacher.recipe = 'x'"),
        ({"recipes": {"a": {"extra_data": {"dataset": "digitz"}}}},
         "recipes.a.extra_data.dataset = 'digitz'; did you mean 'digits'?"),
        ({"recipes": {"a": {"extra_data": {**EXTRA, "labels": {"method": "wa", "recipe": "a"}}}}},
         "recipes.a.extra_data.labels: are said by a cell that needs this very recipe"),
        ({"recipes": {"a": {"extra_data": {"data": "digits"}}}},
         "recipes.a.extra_data: unknown key 'data'; did you mean 'dataset'?"),
        ({"recipes": {"default": {"extra_data": {"dataset": "cifar10"}}}},
         "extra_data.dataset = 'cifar10': has images of 3 × 32 × 32"),
    ],
)  # fmt: skip
def test_mistakes_name_their_place(config: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(**config)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
