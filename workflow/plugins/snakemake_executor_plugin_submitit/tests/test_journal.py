"""The journal: what was written, through torn lines, flipped bits and full disks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from samples import record
from toy import SOURCE

from snakemake_executor_plugin_submitit.journal import Journal, JournalInUse


def test_a_journal_is_what_was_written(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record("a"), record("b")])
    journal.sent("s1", ["7_0", "7_1"])
    journal.sending("s2", "slurm", "one-s2", [record("c")])
    journal.dropped("s2")
    first, second = journal.submissions["s1"]
    journal.cancelled([first])
    journal.ended(second, "done", "", {"seconds": 3})
    read = Journal.read(tmp_path)
    assert read.submissions == journal.submissions
    assert read.live == journal.live == {"key of a": first}
    assert first.cancelled
    assert second.spent == {"seconds": 3}


def test_a_torn_line_is_skipped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record()])
    journal.close()
    with journal.path.open("a") as file:
        file.write('{"event": "sent", "subm')
    again = Journal.open(tmp_path)
    assert again.live["key of a"].id is None
    again.sent("s1", ["8"])
    assert Journal.read(tmp_path).live["key of a"].id == "8"


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_costs_a_line_and_no_more(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record("a"), record("b")])
    journal.sent("s1", ["7_0", "7_1"])
    journal.sending("s2", "slurm", "one-s2", [record("c")])
    journal.close()
    content = journal.path.read_bytes()
    for position in range(0, len(content), 7):
        flip(journal.path, position, position % 8)
        read = Journal.read(tmp_path)
        assert read.damaged or read.submissions == journal.submissions
        for name, attempts in read.submissions.items():
            expected = journal.submissions[name]
            assert [a.job for a in attempts] == [a.job for a in expected]
            assert {a.id for a in attempts} <= {None, *(a.id for a in expected)}
        journal.path.write_bytes(content)


def test_lines_of_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record()])
    lines = journal.path.read_text().splitlines()
    plain = [{k: v for k, v in json.loads(line).items() if k != "crc"} for line in lines]
    journal.path.write_text("".join(json.dumps(line) + "\n" for line in plain))
    journal.sent("s1", ["7"])
    read = Journal.read(tmp_path)
    assert read.live["key of a"].id == "7"
    assert read.damaged == []


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path)
    journal.sending("s1", "slurm", "one-s1", [record()])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", raise_full)
        with pytest.raises(OSError, match="No space"):
            journal.sent("s1", ["7"])
    journal.sent("s1", ["8"])
    assert Journal.read(tmp_path).live["key of a"].id == "8"


def raise_full(file: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_newest_attempt_of_a_job_is_the_live_one(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    (old,) = journal.sending("s1", "slurm", "one-s1", [record()])
    (new,) = journal.sending("s2", "slurm", "one-s2", [record()])
    journal.ended(old, "failed", "why", {})
    assert journal.live == {"key of a": new}


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    with pytest.raises(JournalInUse, match="process"):
        Journal.open(tmp_path)
    journal.close()
    Journal.open(tmp_path)


@pytest.mark.parametrize("signs", [True, False])
def test_a_writer_that_has_not_signed_yet(signs: bool, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if signs:
            threading.Timer(
                0.2, lambda: (tmp_path / "lock").write_text("process 7 on here")
            ).start()
        said = "process 7 on here" if signs else "a process that cannot write"
        with pytest.raises(JournalInUse, match=said):
            Journal.open(tmp_path)


def test_files_of_a_submission_go_when_all_of_it_went_well(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    first, second = journal.sending("s1", "slurm", "one-s1", [record("a"), record("b")])
    first.folder.mkdir()
    journal.ended(first, "done", "", {})
    assert first.folder.exists()
    journal.ended(second, "done", "", {})
    assert not first.folder.exists()


def test_a_lost_line_does_not_lock_everything(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    (attempt,) = journal.sending("s1", "slurm", "one-s1", [record()])
    journal.sent("s1", ["7"])
    journal.cancelled([attempt])
    journal.dropped("s1")
    journal.cancelled([attempt])
    journal.path.write_text("".join(journal.path.read_text().splitlines(keepends=True)[1:]))
    assert Journal.read(tmp_path).live == {}


def test_reading_a_journal_needs_neither_snakemake_nor_submitit() -> None:
    code = (
        "import sys; from snakemake_executor_plugin_submitit.journal import Journal;"
        "print([m for m in sys.modules if m.split('.')[0] in ('snakemake', 'submitit')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert answer.stdout == "[]\n", answer.stderr
