"""Suspicious numbers are marked in tables, with the reason and the cell below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raat_core.cells.evaluations import PgdEvaluation, evaluation_name
from raat_core.cells.folder import CellFolder
from raat_core.evaluation.records import Record
from raat_sweep.numbers.flags import FLAGGED, FLAGS_SENTENCE, cells_of, notes_on_flags
from raat_sweep.numbers.outcomes import Records
from raat_sweep.tables.files import write_table

PGD, CW = (
    PgdEvaluation(norm="linf", epsilon="8/255", step_size="2/255", steps=100, objective=objective)
    for objective in ("cross-entropy", "margin")
)
METRICS = {"pgd": "PGD", "cw": "C&W"}


def rows_of(results: Path, method: str, seed: int, pgd: int, cw: int) -> list[dict[str, Any]]:
    """Two records of a cell of 100 images, and the rows of their numbers."""
    folder = CellFolder(results / "cells" / f"{method}_s{seed}")
    rows = []
    for metric, attack, right in (("pgd", PGD, pgd), ("cw", CW, cw)):
        index, label = np.arange(100, dtype=np.int32), np.zeros(100, np.int32)
        metadata = {"attack": attack.to_json(), "checkpoint": "best"}
        name = evaluation_name(attack, "best")
        Record(index, label, (index >= right).astype(np.int32), metadata).write(folder.record(name))
        rows.append(
            {
                **{"dataset": "Digits", "architecture": "Net", "norm": "linf", "epsilon": "8/255"},
                **{"method": method, "variant": "paper", "seed": seed, "metric": metric},
                **{"cell": folder.path.name, "record": name},
            }
        )
    return rows


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        *rows_of(tmp_path, "Good", 0, 52, 49),
        *rows_of(tmp_path, "Masked", 0, 52, 50),
        *rows_of(tmp_path, "Masked", 1, 80, 50),
    ]


def test_the_cell_and_the_reason_are_named(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    (note,) = notes_on_flags(rows, Records(tmp_path / "cells"))
    assert "30.0 points above cw-100" in note.reason
    assert note.cells == [("Masked_s1", " (Masked, Net, Digits, seed 1)", "")]
    assert cells_of([note]) == {"Masked_s1"}


def test_a_missing_or_damaged_record_is_no_flag(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = CellFolder(tmp_path / "cells" / "Masked_s1")
    folder.record(rows[-1]["record"]).write_bytes(b"half")
    folder.record(rows[0]["record"]).unlink()
    assert notes_on_flags(rows, Records(tmp_path / "cells")) == []
    assert notes_on_flags([{**rows[0], "record": None}], Records(tmp_path / "cells")) == []


def test_the_row_is_marked(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    notes = notes_on_flags(rows, Records(tmp_path / "cells"))
    measured = pd.DataFrame(
        [{**row, "accuracy": 50.0, "samples": 100, "gap": "", "log": ""} for row in rows]
    )
    item = {
        **{"name": "t", "title": "T", "metrics": METRICS, "ours": [], "cited": None},
        **{"checkpoint": "last", "derived": {}},
    }
    write_table(measured, item, tmp_path, [(FLAGS_SENTENCE, notes)], cells_of(notes))
    markdown = (tmp_path / "t.md").read_text()
    assert f"| Masked{FLAGGED}" in markdown
    assert "| Good (n = 1)" in markdown
    assert FLAGS_SENTENCE in markdown
    assert "30.0 points above" in markdown
    assert r"Masked" in (tmp_path / "t.tex").read_text()
    assert r"$^\ddagger$" in (tmp_path / "t.tex").read_text()
    assert pd.read_csv(tmp_path / "t.csv")["flagged"].tolist() == [False, True]
