"""Where a number of a table comes from: rows, columns, seeds, records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raat_core.cells.evaluations import CleanEvaluation
from raat_core.cells.folder import CellFolder
from raat_core.cells.spec import write_spec
from raat_sweep.commands.cli import main
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan
from raat_sweep.rules.build import build
from raat_sweep.rules.description import describe
from record_files import write_manifest, write_record

GRID: dict[str, Any] = {
    "datasets": ["digits"],
    "architectures": ["resnet-mini"],
    "methods": ["PGD-AT", "RAAT", "RAAT of the code"],
    "seeds": [0, 1],
}
CONFIG: dict[str, Any] = {
    "results": "results/x",
    "methods": {"RAAT of the code": {"name": "raat", "eta": 0.2}},
    "attacks": {"aa": {"kind": "pgd", "steps": 5, "title": "Five steps"}},
    "items": {
        "t": {
            "kind": "table",
            "title": "T",
            "metrics": ["clean", "aa", "nrr"],
            "grids": [GRID, {**GRID, "methods": ["RAAT"], "threat_model": "l2"}],
        }
    },
}
CORRECT = {"clean": [1, 1, 1, 0], "aa": [1, 0]}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table whose second seed of PGD-AT is not attacked; accuracies 75 % and 50 %."""
    monkeypatch.chdir(tmp_path)
    plan = Plan(read_config(CONFIG, "test"))
    item = describe(plan, "t")
    cells = Path("results/x/cells")
    settings = {each.name: each.settings for each in plan.items["t"].attacks}
    for row in item["rows"]:
        write_manifest(cells, row["cell"], data_sha256="d")
        write_spec(CellFolder(cells / row["cell"]), plan.cells[row["cell"]])
        if (row["method"], row["seed"], row["metric"]) == ("PGD-AT", 1, "aa"):
            continue
        metadata: dict[str, Any] = {"attack": settings[row["metric"]].to_json(), "data_sha256": "d"}
        correct = CORRECT[row["metric"]]
        write_record(cells, row["cell"], row["record"], correct, epoch=7, **metadata)
    build(item)
    return "results/x/t.csv"


def traced(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["trace", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_a_number_is_traced_to_its_records(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = traced(capsys, table, "--row", "pgd-at", "--column", "clean")
    lines = text.splitlines()
    assert (
        lines[0]
        == "PGD-AT, Digits, ResNet-mini, ℓ∞ 8/255, Clean: 75.00 ± 0.00 over n = 2 seeds, 4 images"
    )
    assert "unlike RAAT: method.name pgd-at, not raat" in lines
    assert [line for line in lines if line.startswith("seed")] == [
        "seed 0: 75.00% on 4 images",
        "seed 1: 75.00% on 4 images",
    ]
    assert text.count("  checkpoint: best, epoch 7, weights with SHA-256 best") == 2
    assert text.count("  again: python -m raat_core attack results/x/cells/digits_resnet-mini") == 2
    only = traced(capsys, table, "--row", "pgd-at", "--column", "clean", "--seed", "1")
    assert "seed 0" not in only


def test_settings_of_one_method_are_distinguished(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = traced(capsys, table, "--row", "RAAT of the code", "--column", "clean")
    assert "unlike RAAT: method.eta 0.2, not 0.1" in text.splitlines()
    assert "threat_model.norm" in text, "the row in another ball differs in that"


def test_a_derived_number_has_all_its_records(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = traced(capsys, table.replace(".csv", ".md"), "--row", "RAAT", "l2", "--column", "NRR")
    assert "seed 0: 66.67% on 2 images that all of its records have" in text, "2·100·50/150"
    assert text.count("  on the 2 images that all of these have: best_clean_") == 2
    assert text.count("  record best_clean") == 2
    assert text.count("  record best_pgd-5") == 2


def test_a_cell_that_is_not_trained_here_is_not_said_to_be(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (table, "--row", "PGD-AT", "--column", "clean", "--seed", "0")
    text = traced(capsys, *arguments)
    assert "  the cell again: python -m raat_core train results/x/cells/digits_" in text
    (cell,) = Path("results/x/cells").glob("*_pgd-at_s0_*")
    spec = json.loads((cell / "spec.json").read_text())
    spec["method"] = {"name": "given", "sha256": "0123"}
    (cell / "spec.json").write_text(json.dumps(spec))
    text = traced(capsys, *arguments)
    assert "  trained elsewhere, its file of weights has the SHA-256 0123" in text
    assert "the cell again" not in text


def test_gaps_have_their_reason(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = traced(capsys, table, "--row", "PGD-AT", "--column", "Five steps")
    assert "Five steps: 50.00 over n = 1 seed, 2 images" in text.splitlines()[0]
    assert "seed 1: no value: not attacked" in text
    assert "  best_pgd-5" in text
    assert ": is not there" in text


def test_a_record_that_was_made_again_is_noticed(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (cell,) = Path("results/x/cells").glob("*_pgd-at_s0_*")
    (path,) = (cell / "records").glob("best_clean*")
    attack = CleanEvaluation().to_json()
    write_record(cell.parent, cell.name, path.stem, [1, 1, 0, 0], attack=attack)
    text = traced(capsys, table, "--row", "PGD-AT", "--column", "clean")
    assert text.count("another accuracy than the table: make the table again (50.00%)") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--row", "MART"], "--row = MART: no row has that; there are: PGD-AT, Digits, ResNet-"),
        (["--row", "RAAT"], "--row = RAAT: 2 rows have that, add to it; there are: RAAT, Digits"),
        ([], "--row = nothing: 4 rows have that, add to it; there are: PGD-AT, Digits"),
        (["--row", "PGD-AT"], "--column = nothing: the row has: Clean (clean), Five steps (aa)"),
        (["--row", "PGD-AT", "--column", "x"], "--column = 'x': the row has: Clean (clean)"),
        (["--row", "PGD-AT", "--column", "aa", "--seed", "2"], "--seed = 2: allowed: 0, 1"),
    ],
)
def test_what_is_not_there_is_said_beside_what_is(
    table: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", table, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_no_table_is_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", str(tmp_path / "none.csv"), "--row", "x"]) == 2
    error = capsys.readouterr().err
    assert "none.cells.csv: No such file or directory; give one of the files of a table" in error
    (tmp_path / "cells.cells.csv").write_text("a,b\n1,2\n")
    assert main(["trace", str(tmp_path / "cells.csv"), "--row", "x"]) == 2
    assert "holds no numbers of a table" in capsys.readouterr().err
