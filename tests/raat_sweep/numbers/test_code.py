"""Numbers that different code made under one version are named, with their cells and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raat_core.cells.folder import CellFolder
from raat_core.evaluation.records import Record
from raat_core.files.checksums import write_json
from raat_sweep.comparison.page import page_of
from raat_sweep.figures.files import write_figure
from raat_sweep.numbers.code import CODE_SENTENCE, notes_on_code
from raat_sweep.numbers.gaps import in_a_caption
from raat_sweep.tables.files import to_latex, to_markdown
from raat_sweep.tables.layout import Layout

A, B = "a" * 64, "b" * 64


def extension(kind: str, sha256: str, version: int = 1) -> dict[str, Any]:
    return {"kind": kind, "name": "mine", "version": version, "path": "/x.py", "sha256": sha256}


def cell(results: Path, seed: int, *extensions: dict[str, Any], attack: str = "") -> dict[str, Any]:
    """A cell's files as far as they say who made it; the row of a number of it."""
    name = f"digits_net_s{seed}_{seed:012}"
    folder = CellFolder(results / "cells" / name)
    write_json(folder.manifest, {"extensions": list(extensions)} if extensions else {})
    nothing = np.zeros(1, np.int32)
    made_by = {"extensions": [extension("attack", attack)]} if attack else {}
    Record(nothing, nothing, nothing, made_by).write(folder.record("best_x"))
    return {"cell": name, "record": "best_x", "seed": seed}


def test_one_code_and_none_need_no_note(tmp_path: Path) -> None:
    rows = [cell(tmp_path, 0, extension("method", A)), cell(tmp_path, 1, extension("method", A))]
    rows += [cell(tmp_path, 2), cell(tmp_path, 3, extension("method", B, version=2))]
    rows += [{"cell": "not-there", "record": None, "seed": 0}]
    assert notes_on_code(rows, tmp_path / "cells") == []


def test_the_code_of_fewer_cells_is_named_with_its_cells(tmp_path: Path) -> None:
    codes = (A, B, B, B)
    rows = [cell(tmp_path, seed, extension("method", code)) for seed, code in enumerate(codes)]
    (note,) = notes_on_code([*rows, *rows], tmp_path / "cells")
    expected = f"method 'mine' version 1: sha256 {A[:12]}, unlike 3 cells of sha256 {B[:12]}"
    assert note.reason == expected
    assert note.cells == [(rows[0]["cell"], " (seed 0)", "")]
    layout = Layout("C", ["N"], ["M"], [], [], [(CODE_SENTENCE, [note])])
    for text in (to_markdown(layout), to_latex(layout, "t")):
        assert CODE_SENTENCE in text
        assert "sha256 aaaaaaaaaaaa" in text
        assert "(seed 0)" in text
    assert in_a_caption(CODE_SENTENCE, [note]) == f"{CODE_SENTENCE} {expected}: s0_000000000000"


def test_attacks_count_too(tmp_path: Path) -> None:
    rows = [cell(tmp_path, seed, attack=code) for seed, code in enumerate((A, A, B))]
    (note,) = notes_on_code(rows, tmp_path / "cells")
    assert note.reason.startswith("attack 'mine' version 1: sha256 bbbbbbbbbbbb, unlike 2 cells")


def test_figures_and_comparisons_say_it(tmp_path: Path) -> None:
    rows = [cell(tmp_path, seed, extension("method", code)) for seed, code in enumerate((A, B))]
    notes = [(CODE_SENTENCE, notes_on_code(rows, tmp_path / "cells"))]
    item = {"title": "T", "claims": [], "tables": {}, "metrics": {"clean": "Clean"}}
    measured = pd.DataFrame(columns=["cell", "metric", "record", "accuracy", "gap", "log"])
    page = page_of(pd.DataFrame(), pd.DataFrame(), measured, item, notes)
    assert page[1:3] == ["## Remarks", CODE_SENTENCE]
    point = {"panel": "a", "series": "S", "x": "M", "seed": 0, "metric": "clean", "cell": "c"}
    points = pd.DataFrame([{**point, "record": "r", "accuracy": 1.0, "samples": 2, "gap": ""}])
    panel = {"title": "P", "x": "method", "x_label": "", "metrics": ["clean"]}
    figure = {"name": "f", "panels": {"a": panel}, "checkpoint": "best", **item}
    for name, remarks in (("plain", []), ("noted", notes)):
        (tmp_path / name).mkdir()
        write_figure(points, figure, tmp_path / name, remarks)
    pngs = [(tmp_path / name / "f.png").read_bytes() for name in ("plain", "noted")]
    assert pngs[0] != pngs[1]
