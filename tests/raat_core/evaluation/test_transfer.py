"""Images made on another cell's model: what is recorded, and of which weights it is."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from conftest import SMALL_CELL, small_cell
from raat_core import api
from raat_core.attacks.pgd import Pgd
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import EvaluationList, PgdEvaluation, evaluation_name
from raat_core.cells.folder import CellFolder
from raat_core.cells.transfer import (
    SourceCell,
    TransferEvaluation,
    needed_by,
    resolved_on,
)
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Shard
from raat_core.evaluation.records import Record
from raat_core.evaluation.run import evaluate_cell
from raat_core.files.checksums import read_json, write_sealed_json
from raat_core.randomness import NamedDraws

BALL: dict[str, Any] = {"norm": "linf", "epsilon": Fraction(3, 10), "step_size": Fraction(1, 10)}
RECIPE = {**SMALL_CELL["recipe"], "epochs": 4, "decay_epochs": [3]}
TRANSFER = TransferEvaluation(**BALL, steps=5, batch_size=25)


def cell(seed: int = 0, **changes: Any) -> Cell:
    return small_cell(recipe=RECIPE, seed=seed, **changes)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> list[CellFolder]:
    """Of two seeds, beside each other."""
    folder = tmp_path_factory.mktemp("cells")
    return [
        CellFolder(api.train(each, folder / each.name, device="cpu", data=small_data))
        for each in (cell(0), cell(1))
    ]


def attack(folder: CellFolder, data: DataSet, attack: Any, **more: Any) -> dict[str, Any]:
    chosen = EvaluationList(attacks=(attack,))
    return evaluate_cell(folder, chosen, data, torch.device("cpu"), **more)


def test_next_seed_and_a_named_cell_are_cells() -> None:
    (need,) = needed_by(TRANSFER, cell()).values()
    assert need.cell == cell(1)
    trades = TransferEvaluation(**BALL, steps=5, source={"method": "trades", "checkpoint": "last"})
    (need,) = needed_by(trades, cell()).values()
    assert need.cell == cell(0, method="trades")
    assert need.checkpoint == "last"
    resolved = resolved_on(trades, cell())
    assert resolved.to_json()["source"] == {
        "cell": cell(0, method="trades").name,
        "checkpoint": "last",
    }
    assert needed_by(resolved, cell()) == {}
    assert resolved_on(PgdEvaluation(**BALL, steps=5), cell()) == PgdEvaluation(**BALL, steps=5)


def test_what_cannot_be() -> None:
    same = TransferEvaluation(**BALL, steps=5, source={"method": "pgd-at"})
    with pytest.raises(ValueError, match="source: is the attacked cell itself"):
        needed_by(same, cell())
    for source, says in (
        ("next", "must be `next-seed`"),
        ({"cell": "../elsewhere"}, "should match pattern"),
        ({"method": "nothing"}, "nothing"),
    ):
        with pytest.raises(ValidationError, match=says):
            TransferEvaluation(**BALL, steps=5, source=source)
    with pytest.raises(UserError, match="is not there while this one is trained"):
        cell(selection={"by": {"kind": "transfer", **BALL, "steps": 2}})


def test_the_images_are_made_on_the_source(cells: list[CellFolder], small_data: DataSet) -> None:
    resolved = resolved_on(TRANSFER, cell())
    found = attack(cells[0], small_data, resolved)
    record = Record.read(cells[0].record(found["attacks"][0]["record"]))
    target, source = (api.load(each.path, device="cpu") for each in cells)
    images, labels = small_data.test.batch(torch.arange(25))
    draws = NamedDraws("cpu", 0, "attack", "transfer", "0", 0).generator
    made = Pgd("linf", 0.3, 0.1, 5).run(source, images, labels, draws)
    with torch.no_grad():
        right = (target(images).argmax(1) == labels) & (target(made).argmax(1) == labels)
    assert record.correct[:25].tolist() == right.tolist()
    white_box = attack(cells[0], small_data, PgdEvaluation(**BALL, steps=5, batch_size=25))
    assert white_box["attacks"][0]["accuracy"] < found["attacks"][0]["accuracy"]
    assert record.metadata["sources"]["source"]["cell"] == cell(1).name


def test_a_record_is_of_the_sources_weights(cells: list[CellFolder], small_data: DataSet) -> None:
    resolved = resolved_on(TRANSFER, cell())
    attack(cells[0], small_data, resolved, shard=Shard(1, 1))
    chosen = EvaluationList(attacks=(resolved,))
    before = join_cell(cells[0], chosen)
    path = cells[0].record(evaluation_name(resolved, "best"))
    written = path.stat().st_mtime_ns
    assert join_cell(cells[0], chosen) == before
    manifest = read_json(cells[1].manifest)
    others = {**manifest["weights_sha256"], "best": "0" * 64}
    write_sealed_json(cells[1].manifest, {**manifest, "weights_sha256": others})
    with pytest.raises(UserError):
        join_cell(cells[0], chosen)
    write_sealed_json(cells[1].manifest, manifest)
    assert join_cell(cells[0], chosen) == before
    assert path.stat().st_mtime_ns == written


def test_a_source_that_is_not_trained_is_named(
    cells: list[CellFolder], small_data: DataSet
) -> None:
    missing = TransferEvaluation(**BALL, steps=5, source=SourceCell(cell="nowhere"))
    with pytest.raises(UserError, match="uses the model of cell nowhere, which is not trained"):
        attack(cells[0], small_data, missing)


def test_the_word_is_understood_by_hand(cells: list[CellFolder], small_data: DataSet) -> None:
    found = attack(cells[0], small_data, TRANSFER)
    assert found["attacks"][0]["record"] == evaluation_name(resolved_on(TRANSFER, cell()), "best")
    with pytest.raises(UserError, match=f"uses the model of cell {cell(2).name}, which is not"):
        attack(cells[1], small_data, TRANSFER)
