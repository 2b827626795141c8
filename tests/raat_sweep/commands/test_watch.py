"""`python -m raat_sweep watch`: what it prints, and the command."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

import sweep_folders
from raat_sweep.commands.text import cut, hours, shorten, span
from raat_sweep.commands.watch import JOURNAL, render, totals
from raat_sweep.monitor.sweep import sweep_status
from snakemake_executor_plugin_submitit.journal import JobRecord, Journal
from sweep_folders import MakeFolders, write_state

make = sweep_folders.make


# Printing


def test_causes_stand_below_their_cells(make: MakeFolders) -> None:
    folders = make(2)
    log = folders.log(1, "error: no space left\n")
    lines = render(folders.look()).splitlines()
    assert lines[1].startswith(folders.names[1])
    assert lines[2] == f"    no space left (log: {log})"
    assert lines[3].startswith(folders.names[0])


def test_what_needs_eyes_comes_first(make: MakeFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make(6)
    folders.finish(0)
    folders.attack(0)
    folders.submit(2, monkeypatch)
    write_state(folders.submit(3, monkeypatch), "running")
    folders.log(4, "error: no\n")
    write_state(folders.submit(5, monkeypatch), "running", age=1000)
    states = [row.state for row in folders.look().rows]
    assert states == ["failed", "lost", "running", "pending", "waiting", "done"]
    assert totals(folders.look()).startswith(
        "6 cells: 1 failed, 1 lost, 1 running, 1 pending, 1 waiting, 1 done"
    )


def test_a_thousand_cells_are_quick(make: MakeFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make(1000)
    folders.finish(0)
    template = {path.name: path.read_bytes() for path in folders.cell(0).path.iterdir()}
    for seed in range(1, 1000):
        folders.cell(seed).path.mkdir(parents=True)
        for name, content in template.items():
            if seed % 2 or name != "manifest.json":
                (folders.cell(seed).path / name).write_bytes(content)
        folders.date(seed, age=10_000)
        if seed % 2 == 0:
            folders.log(seed, "epoch 1/10\n" * 10 + "error: no\n")
    monkeypatch.setattr(os, "fsync", lambda number: None)
    records = [
        JobRecord(str(path), "attack", "", (str(path),), "job.log", "")
        for seed in range(1000)
        for path in [folders.cell(seed).path / folders.lists(seed)[0]]
    ]
    Journal.open(JOURNAL).sending("s0", "slurm", "attack", records)
    began = time.process_time()
    text = render(folders.look(), width=120)
    spent = time.process_time() - began
    assert len(text.splitlines()) >= 1000
    assert spent < 2.0


def test_lines_fit_the_terminal_and_keep_seed_and_digest(make: MakeFolders) -> None:
    folders = make(3)
    folders.train(0, 3, age=10)
    folders.log(1, f"error: {'far too long ' * 20}\n")
    for width in (80, 100, 200):
        lines = render(folders.look(), width).splitlines()
        assert max(map(len, lines)) <= width
    digest = folders.plan.cells[folders.names[0]].digest
    (line,) = [line for line in render(folders.look(), 80).splitlines() if digest in line]
    assert line.startswith("digits")
    assert folders.names[0] in render(folders.look())


def test_a_screen_too_low_shows_what_comes_first(make: MakeFolders) -> None:
    folders = make(30)
    folders.log(29, "error: no\n")
    lines = render(folders.look(), 100, height=10).splitlines()
    assert len(lines) == 10
    assert "failed" in lines[1]
    shown = sum("digits" in line and "log:" not in line for line in lines)
    assert lines[-2] == f"and {30 - shown} more cells; --once prints all"
    assert lines[-1].startswith("30 cells")
    assert "more cells" not in render(folders.look(), 100, height=33)
    for seed in range(30):
        folders.log(seed, "error: no\n")
    assert render(folders.look(), 100, height=10).splitlines()[-2].startswith("and 26 more")


def test_columns_without_anything_are_left_out(make: MakeFolders) -> None:
    folders = make(2)
    header = render(folders.look()).splitlines()[0].split()
    assert header == ["cell", "state"]
    folders.train(0, 3)
    header = render(folders.look()).splitlines()[0].split()
    assert header == ["cell", "state", "epoch", "loss", "robust", "ETA", "hours"]


def test_words_for_numbers() -> None:
    assert [span(s) for s in (0, 59, 90, 3540, 3900, 200_000)] == [
        "0 s", "59 s", "2 min", "59 min", "1 h 05 min", "2 d 7 h",
    ]  # fmt: skip
    assert [hours(3600 * h) for h in (0.002, 0.314, 12.36, 1250.4)] == [
        "0.002", "0.31", "12.4", "1250",
    ]  # fmt: skip
    assert shorten("digits_resnet_raat_s1_0123456789ab", 29) == "digits_resnet…s1_0123456789ab"
    assert (cut("abcdef", 4), cut("abcd", 4)) == ("abc…", "abcd")


# The command


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "raat_sweep", "watch", "config.yaml", *arguments]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_the_command_prints_once_into_a_pipe(
    make: MakeFolders, environment: dict[str, str], arguments: list[str]
) -> None:
    folders = make(2)
    folders.train(0, 3)
    done = subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == render(sweep_status(folders.plan, JOURNAL)) + "\n"


def test_a_reader_that_has_enough_is_no_error(
    make: MakeFolders, environment: dict[str, str]
) -> None:
    make(2)
    process = subprocess.Popen(
        command(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


def test_on_a_terminal_it_goes_on_until_ctrl_c(
    make: MakeFolders, environment: dict[str, str]
) -> None:
    folders = make(2)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("--every", "0.2"), env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    read_until(ours, "2 cells: 2 waiting")
    folders.log(0, "error: no space left\n")
    read_until(ours, "no space left")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    with contextlib.suppress(OSError):  # Everything was read before.
        assert b"Traceback" not in os.read(ours, 100_000)
    os.close(ours)


def read_until(terminal: int, text: str) -> None:
    seen = b""
    deadline = time.monotonic() + 60
    while text.encode() not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 65_536)


def test_a_config_that_is_not_there_is_one_line(
    make: MakeFolders, environment: dict[str, str]
) -> None:
    done = subprocess.run(command(), env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: cannot read config.yaml: No such file or directory\n"


def test_watching_imports_nothing_heavy(
    make: MakeFolders, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    write_state(make(1).submit(0, monkeypatch), "running")
    code = (
        "import sys; from pathlib import Path; from raat_sweep.commands.watch import watch\n"
        "watch(Path('config.yaml'), 1.0, once=True)\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'snakemake', 'submitit'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "running" in done.stdout
