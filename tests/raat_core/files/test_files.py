"""Files that are whole or not there: what dead writers leave, checksums of JSON, locks."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from raat_core.cells.folder import CellFolder
from raat_core.cells.history import require_whole_history, write_history
from raat_core.errors import Damaged, UserError
from raat_core.files.atomic import write_bytes
from raat_core.files.checksums import read_json, write_json, write_sealed_json
from raat_core.files.locks import exclusive


def test_what_a_dead_process_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    dead, living = (tmp_path / f"a.json.{name}.partial" for name in ("n1.1", "n2.2"))
    other = tmp_path / "b.json.n1.1.partial"
    for path in (dead, living, other):
        path.write_text("half")
    with living.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_bytes(tmp_path / "a.json", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", living.name, other.name]


def test_where_there_are_no_locks_nothing_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left = tmp_path / "a.json.n1.1.partial"
    left.write_text("half")
    write_bytes(tmp_path / "a.json", b"whole")
    assert left.exists()
    assert (tmp_path / "a.json").read_bytes() == b"whole"


def test_any_flipped_bit_of_sealed_json_is_found(tmp_path: Path) -> None:
    path, data = tmp_path / "a.json", {"accuracy": 51.25, "name": "é", "samples": [1, 2]}
    write_sealed_json(path, data)
    assert read_json(path) == data
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        try:
            found = read_json(path)
        except Damaged:
            continue
        assert {key: found[key] for key in data} == data


def test_json_without_a_checksum_is_read_as_it_is(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"sha256": "x"})
    assert read_json(tmp_path / "a.json") == {"sha256": "x"}


def test_what_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*: File exists; mend that and give the"):
        write_bytes(tmp_path / "file/a", b"")


def test_a_lock_that_is_deleted_is_made_anew_unless_another_has_come(tmp_path: Path) -> None:
    with exclusive(tmp_path, "being tried") as lock:
        lock.require()
        (tmp_path / ".lock").unlink()
        lock.require()
        with (
            pytest.raises(UserError, match="is being tried by process"),
            exclusive(tmp_path, "being tried"),
        ):
            pass
        (tmp_path / ".lock").unlink()
        with exclusive(tmp_path, "being taken"), pytest.raises(UserError, match="has taken the"):
            lock.require()


@pytest.mark.parametrize("signs", [True, False])
def test_a_holder_that_has_not_signed_yet(signs: bool, tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if signs:
            threading.Timer(0.2, lambda: path.write_text("process 7 on here")).start()
        said = "is being tried by " + ("process 7 on here" if signs else "a process that cannot")
        with pytest.raises(UserError, match=said), exclusive(tmp_path, "being tried"):
            pass


def test_a_damaged_history_of_a_finished_cell_is_found(tmp_path: Path) -> None:
    cell = CellFolder(tmp_path)
    sha256 = write_history(cell, [{"epoch": 1, "robust_accuracy": 50.0}])
    write_sealed_json(cell.manifest, {"history_sha256": sha256})
    require_whole_history(cell)
    cell.history.write_text(cell.history.read_text().replace("50", "70"))
    with pytest.raises(Damaged, match=r"history.csv is damaged.*put back a copy of it, or remove"):
        require_whole_history(cell)
