"""What a plan says of learning rates that never decay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GRID
from raat_sweep.commands.plan import show_plan
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan


def config(**recipe: Any) -> dict[str, Any]:
    return {
        "results": "results",
        "recipes": {"default": recipe},
        "items": {
            "t": {"kind": "table", "title": "T", "metrics": ["clean"], "grids": [{**GRID}]},
            "both": {
                "kind": "table",
                "title": "T",
                "metrics": ["clean"],
                "grids": [{**GRID, "seeds": [0, 1]}],
            },
        },
    }


def notes(**recipe: Any) -> list[str]:
    return Plan(read_config(config(**recipe), "c")).notes


def test_decays_that_never_come_are_said() -> None:
    """Epochs are shortened, and the default's decays at 100 and 105 stay."""
    (note,) = notes(epochs=60)
    assert note.startswith(
        "note: recipe.decay_epochs = [100, 105]: with epochs = 60 there is no decay at 100 and 105 "
        "(2 cells, such as digits_resnet-mini_linf_pgd-at_s0_"
    )
    (note,) = notes(epochs=104)
    assert "there is no decay at 105 (" in note
    # The learning rate is multiplied after an epoch: after the last one it is too late.
    assert "no decay at 10 (" in notes(epochs=10, decay_epochs=[5, 10])[0]


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"epochs": 106},
        {"epochs": 60, "decay_epochs": []},
        {"epochs": 60, "decay_epochs": [30, 59]},
        {"epochs": 60, "schedule": "cosine"},
    ],
)
def test_schedules_that_are_whole_get_no_note(recipe: dict[str, Any]) -> None:
    assert notes(**recipe) == []


def test_warm_up_does_not_hide_them() -> None:
    assert len(notes(epochs=60, schedule={"kind": "steps", "warmup_epochs": 2})) == 1


def test_the_plan_command_prints_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config(epochs=60)))
    assert show_plan(file).splitlines()[-1].startswith("note: recipe.decay_epochs = [100, 105]")
    file.write_text(yaml.safe_dump(config(epochs=60, decay_epochs=[30])))
    assert "decay" not in show_plan(file)
