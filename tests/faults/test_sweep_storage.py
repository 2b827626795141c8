"""Whole sweeps on storage that fails, and the same command once the cause is gone."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from checkout import Checkout
from faults.conftest import sweep
from faults.damage import cut_short, flipped, says_the_same
from faults.disks import disk
from faults.processes import strays
from faults.tally import KILLS, Tally
from raat_core.cells.manifest import read_manifest

FAULTS = max(1, KILLS // 30)
PLENTY = 8192


def assert_finished(checkout: Checkout, undisturbed: Checkout) -> None:
    finished = checkout.snakemake()
    assert finished.returncode == 0, finished.stderr
    assert checkout.numbers() == undisturbed.numbers()
    assert strays(checkout.path / "results") == []


def refused(checkout: Checkout) -> str:
    """What a sweep says that cannot be finished."""
    finished = checkout.snakemake()
    said = finished.stdout + finished.stderr
    assert finished.returncode != 0, said
    assert "Traceback" not in said
    return said


def test_a_full_disk(
    undisturbed: Checkout, tmp_path: Path, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    """With room for nothing, for a few logs, and for some of the cells."""
    faults = tally("sweep: full disk")
    checkout = sweep(tmp_path / "checkout")
    with disk(checkout.path / "results", 2) as small:
        for pages in (
            2,
            chance.randrange(7, 12),
            *(chance.randrange(12, 300) for _ in range(FAULTS)),
        ):
            small.resize(max(pages, small.pages))
            finished = checkout.snakemake()
            said = finished.stdout + finished.stderr
            assert "Traceback" not in said
            if finished.returncode:
                faults.injected += 1
                assert "error: cannot write results/tiny" in said, said
                assert (
                    f"{os.strerror(errno.ENOSPC)}; make room and give the same command again"
                    in said
                )
                faults.overcome(named=True)
        small.resize(PLENTY)
        assert_finished(checkout, undisturbed)


@pytest.mark.thorough
def test_a_read_only_results_folder(
    undisturbed: Checkout, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    faults = tally("sweep: read-only results")
    checkout = sweep(tmp_path / "checkout")
    with disk(checkout.path / "results", PLENTY) as small:
        small.make_read_only()
        faults.injected += 1
        said = refused(checkout)
        assert "results = 'results/tiny': " in said
        assert "cannot be written; mend that or choose another folder" in said
        small.make_read_only(False)
        assert_finished(checkout, undisturbed)
        faults.overcome(named=True)


@pytest.mark.parametrize(
    "apart",
    [False, pytest.param(True, marks=pytest.mark.thorough)],
    ids=["one-checkout", "two-checkouts"],
)
def test_two_heads_at_once(
    apart: bool, undisturbed: Checkout, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """The second is refused, and no cell is trained twice."""
    faults = tally("two heads at once")
    first = sweep(tmp_path / "first")
    second = sweep(tmp_path / "second") if apart else first
    if apart:
        (first.path / "results").mkdir()
        (second.path / "results").symlink_to(first.path / "results")
    heads = [one.start_plain("--cores", "1") for one in (first, second) for _ in range(1)]
    faults.injected += 1
    codes = [head.wait(300) for head in heads]
    assert sorted(map(bool, codes)) == [False, True]
    said = heads[codes.index(1)].text()
    assert "results/tiny is being filled by process" in said
    assert "Traceback" not in said
    assert first.numbers() == undisturbed.numbers()
    assert all(len(read_manifest(cell)["sessions"]) == 1 for cell in first.cells)
    faults.overcome(named=True)


DAMAGED = {
    "record": "records/best_pgd-2_*.safetensors",
    "record of shards": "records/best_pgd-3_*.safetensors",
    "summary": "run_best_*.json",
    "spec": "spec.json",
    "manifest": "manifest.json",
}


@pytest.mark.parametrize(
    "name",
    ["record", *(pytest.param(name, marks=pytest.mark.thorough) for name in [*DAMAGED][1:])],
)
def test_damaged_files_under_a_table(
    name: str,
    undisturbed: Checkout,
    tmp_path: Path,
    chance: random.Random,
    tally: Callable[[str], Tally],
) -> None:
    """The table is not made of them: one line names the file, and the same command mends it."""
    faults = tally(f"sweep: damaged {name}")
    for damage in [cut_short, flipped][: KILLS // 50] * max(1, KILLS // 200) or [flipped]:
        checkout = undisturbed.copy(tmp_path / f"{faults.injected}")
        cell = chance.choice(checkout.cells)
        (path,) = cell.path.glob(DAMAGED[name])
        content = path.read_bytes()
        while says_the_same(path, content):
            path.write_bytes(damage(content, chance))
        for product in (checkout.path / "results/tiny").glob("*.csv"):
            product.unlink()
        faults.injected += 1
        if name == "spec":
            said = checkout.run()
        else:
            said = refused(checkout)
            assert str(path.relative_to(checkout.path)) in said, said
            assert "again" in said
        if name == "manifest":
            assert f"remove results/tiny/cells/{cell.path.name} and give the same command" in said
            shutil.rmtree(cell.path)
        assert_finished(checkout, undisturbed)
        faults.overcome(named=name != "spec")


@pytest.mark.thorough
def test_files_that_show_up_late(
    undisturbed: Checkout, tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    """What jobs have written is there three seconds after they have ended, as on slow storage."""
    faults = tally("files that show up late")
    checkout = sweep(tmp_path / "checkout")
    for rule in ("train", "attack"):
        path = checkout.path / f"workflow/rules/{rule}.smk"
        text = path.read_text()
        for summary in ("{output.trained:q}", "{output.attacked:q}", "{output.done:q}"):
            later = f"(sleep 3; mv {summary}.late {summary}) > /dev/null 2>&1 &"
            late = f'{summary}.late >> {{log:q}} 2>&1; {later}"'
            now = re.escape(f'{summary} >> {{log:q}} 2>&1"') + r'(?!\n *" \|\|)'
            text = re.sub(now, late.replace("\\", r"\\"), text)
        assert "sleep 3" in text
        path.write_text(text)
    faults.injected += 1
    began = time.monotonic()
    assert_finished(checkout, undisturbed)
    assert time.monotonic() - began > 6
    faults.overcome()
