"""Files of a sweep that are damaged, half written or of nothing known: what is whole is shown."""

from __future__ import annotations

import sys

import pytest

import sweep_folders
from raat_sweep.commands.watch import JOURNAL, render
from snakemake_executor_plugin_submitit.journal import Journal
from sweep_folders import MakeFolders, shown, write_state

make = sweep_folders.make


INFINITE = b'{"attacks": [{"seconds": Infinity}]}'
GARBAGE = [
    INFINITE,
    b"",
    b"\x00\xff\xfe",
    b"{",
    b"[]",
    b"3",
    b'{"sessions": 3, "attacks": 4}',
    b"a,b\n1\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_damaged_files_are_survived(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    folders = make(3)
    for seed, age in enumerate((50, 50, 5000)):
        folders.finish(seed, age=age)
        folders.attack(seed, lists=1)
    state_file = folders.submit(2, monkeypatch).state_file
    state_file.parent.mkdir(parents=True, exist_ok=True)
    log = folders.log(0, "error: no\n")
    (folders.cell(1).resume).mkdir()
    folders.cell(1).manifest.unlink()
    spec, manifest = folders.cell(0).spec, folders.cell(0).manifest
    summary = folders.cell(0).path / folders.lists(0)[0]
    resume = folders.cell(1).resume / "state.safetensors"
    history = folders.cell(0).history
    for path in (spec, manifest, summary, resume, history, state_file, log):
        path.write_bytes(garbage)
    sweep = folders.look()
    assert len(render(sweep).splitlines()) == 1 + 3 + 1
    assert (folders.row(0).state, folders.row(0).epoch) == ("trained", 10)
    assert (folders.row(0).loss, folders.row(0).seconds) == (None, 0)
    assert shown(folders.row(2)) == "lost state file damaged"


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"3",
        b'{"event": "ended", "submission": "s0", "index": 7}',
        b'{"event": "sending"}',
    ],
)
def test_a_damaged_journal_is_said_and_survived(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    folders = make(1)
    folders.submit(0, monkeypatch)
    journal = JOURNAL / "jobs.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"event": "sen')
    assert folders.row().state == "pending", "a torn last line is usual"
    journal.write_bytes(whole + line + b"\n")
    sweep = folders.look()
    assert sweep.rows[0].state == "pending", "the other lines hold"
    (warning,) = sweep.warnings
    assert f"{JOURNAL} is damaged: left out: line " in warning
    assert warning in render(sweep)


def test_a_line_of_a_submission_that_is_not_there_is_passed_over(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.submit(0, monkeypatch)
    journal = Journal.read(JOURNAL)
    journal.submissions["unknown"] = []
    journal.sent("unknown", [])
    assert folders.row().state == "pending"
    assert not folders.look().warnings


def test_state_files_with_impossible_values_are_damaged(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(3)
    for seed, value in enumerate(("soon", None, float("nan"))):
        write_state(folders.submit(seed, monkeypatch), "running", seen_at=value)
        assert shown(folders.row(seed)) == "lost state file damaged"


def test_history_that_is_being_written_shows_what_is_whole(make: MakeFolders) -> None:
    folders = make(1)
    folders.train(0, 4)
    text = folders.cell(0).history.read_text()
    folders.cell(0).history.write_text(text[:-8] + "\n")
    assert folders.row().epoch == 3
    folders.cell(0).history.write_text(text.replace(",60.0", ",inf"))
    assert folders.row().epoch == 0


def test_without_the_plugin_a_journal_is_said_to_be_unread(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make(1)
    folders.submit(0, monkeypatch)
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_submitit.journal", None)
    sweep = folders.look()
    assert sweep.rows[0].state == "waiting"
    assert sweep.warnings[0].startswith("jobs are not shown: import of snakemake_executor_plugin")
