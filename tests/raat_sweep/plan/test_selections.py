"""Selections of cells: the config's or the recipe's, by name; and captions that say so."""

from __future__ import annotations

from typing import Any

from conftest import ATTACK_PLUGIN, GRID
from raat_core.cells.selection import Selection
from raat_core.specs.recipe import Recipe
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan
from raat_sweep.plan.protocol import protocol_of
from raat_sweep.rules.description import describe

FIGURE: dict[str, Any] = {
    "kind": "figure",
    "title": "F",
    "panels": {
        "a": {"title": "a", "x": "epoch", "x_label": "e", "metrics": ["robust"], "grids": [GRID]}
    },
}


def plan(*grids: dict[str, Any], **more: Any) -> Plan:
    chosen = [{**GRID, **grid} for grid in grids] or [GRID]
    table = {"kind": "table", "title": "T", "metrics": ["clean", "sq"], "grids": chosen}
    config = {
        "plugins": [str(ATTACK_PLUGIN)],
        "attacks": {"sq": {"kind": "my-square", "title": "Square", "queries": 500, "samples": 50}},
        "items": {"t": table, "f": FIGURE},
    }
    return Plan(read_config({**config, **more}, "test"))


def selections(made: Plan) -> dict[str, Selection]:
    return {cell.method.name: cell.selection for cell in made.cells.values()}


def test_the_default_leaves_cells_as_they_are() -> None:
    made = plan()
    (cell,) = made.cells.values()
    assert cell.selection == Selection()
    assert type(cell.recipe) is Recipe
    assert made.cells == plan(selection={"by": "robust"}).cells
    assert protocol_of(made, "t")[-1] == (
        "Checkpoint: best; the best is chosen by PGD-10 accuracy on the test split, looked at "
        "after every epoch."
    )
    assert describe(made, "t")["selection"] == {
        "best": "Best checkpoint by PGD-10 on the test split",
        "split": "test",
    }
    assert describe(made, "f")["metrics"]["robust"] == "PGD-10"


def test_an_attack_by_name_is_in_the_cells_ball() -> None:
    made = plan(selection={"by": "sq", "split": "validation", "every": 2})
    (chosen,) = selections(made).values()
    assert chosen.attack is not None
    assert chosen.attack.to_json()["epsilon"] == "8/255"
    assert chosen.attack.to_json()["queries"] == 500
    assert protocol_of(made, "t")[-1] == (
        "Checkpoint: best; the best is chosen by my-square (queries = 500) accuracy on the "
        "validation split, looked at after every 2 epochs."
    )
    assert describe(made, "t")["selection"]["best"] == (
        "Best checkpoint by my-square (queries = 500) on the validation split"
    )
    assert describe(made, "f")["metrics"]["robust"] == "my-square (queries = 500)"


def test_a_recipe_has_a_selection_of_its_own() -> None:
    recipes = {"short": {"epochs": 5, "decay_epochs": [], "selection": {"by": "last"}}}
    made = plan(
        {},
        {"methods": ["TRADES"], "recipe": "short"},
        recipes=recipes,
        selection={"by": "clean", "split": "validation"},
    )
    found = selections(made)
    assert found["trades"] == Selection(by="last")
    assert found["pgd-at"] == Selection(by="clean", split="validation")
    (cell,) = (cell for cell in made.cells.values() if cell.method.name == "trades")
    assert cell.recipe == Recipe(epochs=5, decay_epochs=())
    assert type(cell.recipe) is Recipe
    assert protocol_of(made, "t")[-1] == (
        "Checkpoint: best; the best of PGD-AT is chosen by clean accuracy on the validation "
        "split, looked at after every epoch; the best of TRADES is the last."
    )
    assert describe(made, "t")["selection"]["best"] == (
        "Best checkpoint of PGD-AT by clean accuracy on the validation split; best checkpoint of "
        "TRADES is the last"
    )


def test_captions_print_the_settings_of_attacks() -> None:
    (attacks,) = (line for line in protocol_of(plan(), "t") if line.startswith("Attacks"))
    assert attacks == "Attacks: Clean: all test images; Square: queries = 500, 50 test images."
    small = {"kind": "pgd", "title": "S", "steps": 4, "epsilon": "1/2 of epsilon"}
    made = plan(attacks={"sq": small})
    (attacks,) = (line for line in protocol_of(made, "t") if line.startswith("Attacks"))
    assert attacks.endswith(
        "S: 4 steps of 1/255 on the cross-entropy, in ℓ∞, ε = 4/255, all test images."
    )
