"""Which checkpoint is the best: by PGD, clean accuracy, another attack, the last; or by noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import ATTACK_PLUGIN, SMALL_CELL, small_cell
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_history
from raat_core.cells.manifest import read_manifest
from raat_core.cells.selection import Selection
from raat_core.commands.cli import main
from raat_core.commands.show import best_lines
from raat_core.cost.flop import Accuracies, look_flop, operations_of
from raat_core.data.dataset import DataSet
from raat_core.errors import Interrupted, UserError
from raat_core.interface.operations import Passes
from raat_core.interface.plugins import load_plugin
from raat_core.training.loop import Training
from raat_core.training.noise import warnings_of_noise
from raat_core.validation import parse

load_plugin(str(ATTACK_PLUGIN))
BALL: dict[str, Any] = {"norm": "linf", "epsilon": 0.15}
FGSM: dict[str, Any] = {"kind": "fgsm", "epsilon": 0.15, "random_start": True, "samples": 40}


def cell_by(by: Any, epochs: int = 4, **selection: Any) -> Cell:
    recipe = {**SMALL_CELL["recipe"], "epochs": epochs, "decay_epochs": []}
    return small_cell(recipe=recipe, selection={"steps": 2, "by": by, **selection})


def train(cell: Cell, folder: Path, data: DataSet) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The manifest, and the rows of the history."""
    made = CellFolder(api.train(cell, folder, device="cpu", data=data))
    columns, rows = read_history(made)
    return read_manifest(made), [dict(zip(columns, row, strict=True)) for row in rows]


def test_by_clean_accuracy_without_an_attack(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, curves = train(cell_by("last"), tmp_path / "last", small_data)

    def fail(*args: Any) -> None:
        raise AssertionError("no attack is asked for")

    monkeypatch.setattr("raat_core.training.selection.pgd_batches", fail)
    manifest, rows = train(cell_by("clean"), tmp_path / "clean", small_data)
    assert [row["robust_accuracy"] for row in rows] == [""] * 4
    clean = [float(row["clean_accuracy"]) for row in rows]
    assert clean == [float(row["clean_accuracy"]) for row in curves]
    assert manifest["best"]["epoch"] == 1 + clean.index(max(clean))
    assert manifest["best"]["accuracy"] == max(clean)
    assert manifest["best"]["chosen_by"] == "clean accuracy"
    assert expected["best"]["epoch"] == 4


def test_the_last_epoch_has_its_curves(tmp_path: Path, small_data: DataSet) -> None:
    manifest, rows = train(cell_by("last"), tmp_path, small_data)
    rows_by_pgd = train(cell_by("robust"), tmp_path / "pgd", small_data)[1]
    robust = [row["robust_accuracy"] for row in rows]
    assert robust == [row["robust_accuracy"] for row in rows_by_pgd]
    best = manifest["best"]
    assert (best["epoch"], best["chosen_by"]) == (4, "last epoch")
    assert best["accuracy"] == float(robust[-1])
    assert "warnings" not in best
    (line,) = best_lines(manifest)
    assert line.startswith("trained: the best is the last epoch, 4, with ")


def test_by_an_attack_of_ones_own_resumed_bit_for_bit(tmp_path: Path, small_data: DataSet) -> None:
    cell = cell_by(FGSM)
    manifest, rows = train(cell, tmp_path / "whole", small_data)
    robust = [float(row["robust_accuracy"]) for row in rows]
    assert {round(accuracy / 2.5, 6) % 1 for accuracy in robust} == {0}  # Of 40 images.
    assert manifest["best"]["chosen_by"] == "fgsm (random_start = True) accuracy"
    assert manifest["best"]["accuracy"] == max(robust)
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls % 13 == 0:
            raise Interrupted(15)

    folder = CellFolder(tmp_path / "stopped")
    sittings = 0
    while not folder.manifest.exists():
        sittings += 1
        try:
            Training(cell, folder, small_data, torch.device("cpu"), stop).run()
        except Interrupted:
            continue
    assert sittings > 2
    again = read_manifest(folder)
    assert again["weights_sha256"] == manifest["weights_sha256"]
    assert again["best"] == manifest["best"]


@pytest.mark.parametrize(
    ("by", "parts"),
    [
        ("rbust", ["selection.by = 'rbust'", "did you mean 'robust'?"]),
        ({"kind": "clean"}, ["selection.by", "written as the word `clean`"]),
        ({"kind": "pgdd"}, ["selection.by", "kind = 'pgdd'", "did you mean 'pgd'?"]),
        ({**FGSM, "epsilon": "x"}, ["selection.by.epsilon", "a fraction of the pixel range"]),
        ({**FGSM, "samples": 999}, ["selection.by.samples = 999", "at most 360", "test split"]),
    ],
)
def test_bad_criteria_get_one_line(by: Any, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        cell_by(by)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_patience_has_nothing_to_wait_for_by_the_last_epoch() -> None:
    recipe = {**SMALL_CELL["recipe"], "patience": 3}
    with pytest.raises(UserError, match=r"recipe\.patience = 3: waits for a better checkpoint"):
        small_cell(recipe=recipe, selection={"by": "last"})


def test_a_criterion_is_part_of_a_cells_identity_and_survives_json() -> None:
    plain = small_cell()
    assert "by" not in plain.to_json()["selection"]
    assert small_cell(selection={"steps": 2, "by": "robust"}).digest == plain.digest
    cells = [small_cell(selection={"by": by}) for by in ("clean", "last", FGSM)]
    assert len({cell.digest for cell in (plain, *cells)}) == 4
    for cell in cells:
        assert parse(Cell, json.loads(json.dumps(cell.to_json())), "test") == cell
    # Steps that are not taken make no other cell.
    assert small_cell(selection={"by": "clean", "steps": 3}).digest == cells[0].digest


def test_the_version_of_an_attack_that_chooses_is_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from raat_core.interface.registry import attack_class

    before = small_cell(selection={"by": FGSM}).digest
    monkeypatch.setattr(attack_class("fgsm"), "version", 2)
    assert small_cell(selection={"by": FGSM}).digest != before


def test_what_a_look_costs() -> None:
    def forwards(by: Any) -> float:
        cell = small_cell(selection={"steps": 2, "by": by})
        return look_flop(cell, Accuracies(0.8, 0.5)) / operations_of(cell).forward

    pgd = 360 * Passes(forwards=2, gradients=2).flop(operations_of(small_cell()))
    assert forwards("robust") == forwards("last") == pgd / operations_of(small_cell()).forward
    assert forwards("clean") == 360
    assert forwards(FGSM) == 360 + 40 * (2 + 2 * 100)


# Noise


def noise(accuracy: float, *, by: Any = "robust", best_epoch: int = 5, **more: Any) -> list[str]:
    selection = Selection.model_validate({"by": by})
    settings = {"epochs": 10, "images": 10_000, "classes": 10, **more}
    threat = small_cell().threat_model
    return warnings_of_noise(
        selection, threat, best_epoch=best_epoch, accuracy=accuracy, **settings
    )


@pytest.mark.parametrize(
    ("accuracy", "images", "what"),
    [
        (0.0, 10_000, "zero"),
        (0.03, 10_000, "zero"),
        (0.05, 10_000, ""),
        (9.5, 10_000, "chance (10.00%)"),
        (10.59, 10_000, "chance (10.00%)"),
        (10.61, 10_000, ""),
        (9.3, 10_000, ""),
        (13.0, 100, "chance (10.00%)"),
        (45.0, 100, ""),
    ],
)
def test_accuracies_within_two_standard_errors(accuracy: float, images: int, what: str) -> None:
    found = noise(accuracy, images=images)
    assert len(found) == bool(what)
    if what:
        assert f"{accuracy:.2f}% PGD-10 accuracy on {images} images is within two" in found[0]
        assert found[0].endswith(what)


def test_the_first_epoch_of_several() -> None:
    assert noise(40.0, best_epoch=1) == ["the best checkpoint is of the first of 10 epochs"]
    assert noise(40.0, best_epoch=1, epochs=1) == []
    assert len(noise(0.0, best_epoch=1)) == 2
    assert noise(0.0, best_epoch=1, by="last") == []
    assert "0.00% clean accuracy" in noise(0.0, by="clean")[0]


def test_a_training_says_so_in_manifest_log_and_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that hardly move: what they predict is chance."""
    recipe = {**SMALL_CELL["recipe"], "learning_rate": 1e-9, "batch_size": 512}
    spec = {**SMALL_CELL, "recipe": recipe, "seed": 1}
    arguments = ["train", json.dumps(spec), "--folder", str(tmp_path / "cell")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    warnings = read_manifest(CellFolder(tmp_path / "cell"))["best"]["warnings"]
    assert warnings
    assert main(["show", str(tmp_path / "cell")]) == 0
    shown = capsys.readouterr().out
    for warning in warnings:
        assert f"\nwarning: {warning}\n" in said
        assert f"\nwarning: {warning}" in shown


def test_the_manifest_of_a_good_training_has_no_key_for_it(
    tmp_path: Path, small_data: DataSet
) -> None:
    manifest, _ = train(cell_by("last", epochs=1), tmp_path, small_data)
    assert list(manifest["best"]) == ["epoch", "chosen_by", "split", "accuracy"]
