"""Files that are cut short or have other bits: found, named, and never used.

Where there is another good state it is used, and the outcome is the same; where there is none, one
line says which file it is and what to do, and after that the same command goes on.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import Toy, processes_of, wait_until

from checkout import numbers_of
from conftest import SMALL_CELL, small_cell
from faults.damage import DAMAGES, Damage, cut_short, emptied, flipped, says_the_same, zeroed
from faults.processes import Ended, ended, strays
from faults.tally import KILLS, Tally
from raat_core import api
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.data.cache import Samples, Source, cached, read_cache
from raat_core.data.dataset import DataSet
from raat_core.errors import Interrupted
from raat_core.training.loop import Training
from snakemake_executor_plugin_submitit.journal import Journal

ROUNDS = max(1, KILLS // 50)
"""How often each file is damaged in each way, by other chances."""
CELL = small_cell(recipe={**SMALL_CELL["recipe"], "epochs": 4})
PGD = {"kind": "pgd", "norm": "linf", "epsilon": 0.15, "step_size": 0.05, "steps": 2}
ATTACKS = [{"kind": "clean"}, {**PGD, "batch_size": 20}]
MORE = [*ATTACKS, {**PGD, "steps": 3}]
TO_DO = ("again", "Remove", "remove")


@dataclass(frozen=True)
class Bench:
    """Cells in all states, and commands on small data."""

    path: Path
    data: DataSet

    def command(self, cell: CellFolder, *arguments: str) -> Ended:
        """Run a command as a job would."""

        def work() -> int:
            api.load_data_set = lambda *_: self.data
            return main([*arguments, "--device", "cpu"])

        return ended(work, cell.path.with_suffix(".log"))

    def run(self, cell: CellFolder, attacks: Any = ATTACKS) -> Ended:
        spec = json.dumps(CELL.to_json())
        options = ("--folder", str(cell.path), "--attacks", json.dumps(attacks))
        return self.command(cell, "run", spec, *options, "--summary", str(cell.path / "run.json"))

    def train(self, cell: CellFolder) -> Ended:
        return self.command(cell, "train", json.dumps(CELL.to_json()), "--folder", str(cell.path))

    def attack(self, cell: CellFolder, attacks: Any = ATTACKS) -> Ended:
        return self.command(cell, "attack", str(cell.path), "--attacks", json.dumps(attacks))

    def copy(self, state: str, name: str) -> CellFolder:
        """A copy of a cell in a state: `finished`, `unfinished` or `half-attacked`."""
        shutil.copytree(self.path / state, self.path / name)
        return CellFolder(self.path / name)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"), small_data)
    finished = CellFolder(made.path / "finished")
    assert made.run(finished).code == 0
    half = made.copy("finished", "half-attacked")
    shutil.rmtree(half.path / "records")
    options = ("--attacks", json.dumps(ATTACKS))
    for shard in ("1/3", "3/3"):
        assert made.command(half, "attack", str(half.path), "--shard", shard, *options).code == 0
    calls = iter(range(10_000))

    def stop() -> None:
        if next(calls) == 23:
            raise Interrupted(15)

    unfinished = CellFolder(made.path / "unfinished")
    training = Training(CELL, unfinished, small_data, torch.device("cpu"), check_stop=stop)
    with pytest.raises(Interrupted):
        training.run()
    return made


@dataclass(frozen=True)
class Case:
    """A file, and a command that reads it or does without."""

    state: str
    file: str
    command: Callable[[Bench, CellFolder], Ended]
    expected: str
    """`refused`: it cannot go on; `recovered`: it says so and goes on; `unread`."""
    others: tuple[str, ...] = field(default=())
    """Files that are damaged along with it."""


CASES = {
    "best weights": Case("finished", "best.safetensors", lambda b, c: b.attack(c, MORE), "refused"),
    "last weights": Case("finished", "last.safetensors", Bench.train, "refused"),
    "manifest, training": Case("finished", "manifest.json", Bench.train, "refused"),
    "manifest, attack": Case("finished", "manifest.json", Bench.attack, "refused"),
    "spec of a finished cell": Case("finished", "spec.json", Bench.attack, "recovered"),
    "spec, both": Case("finished", "spec.json", Bench.run, "recovered"),
    "spec of an unfinished cell": Case("unfinished", "spec.json", Bench.train, "refused"),
    "record": Case("finished", "records/best_pgd*.safetensors", Bench.attack, "recovered"),
    "summary": Case("finished", "run.json", Bench.run, "unread"),
    "state": Case("unfinished", "resume/state.safetensors", Bench.train, "recovered"),
    "state before": Case("unfinished", "resume/state.previous.safetensors", Bench.train, "unread"),
    "both states": Case(
        *("unfinished", "resume/state.safetensors", Bench.train, "refused"),
        others=("resume/state.previous.safetensors",),
    ),
    "history while training": Case("unfinished", "history.csv", Bench.train, "unread"),
    "part": Case(
        "half-attacked", "records/parts/best_pgd*1-1.safetensors", Bench.attack, "recovered"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_of_a_cell(
    name: str, bench: Bench, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    case, faults = CASES[name], tally(f"damage: {name.partition(',')[0]}")
    through = expected_of(bench, case)
    for number, damage in enumerate(DAMAGES * ROUNDS):
        cell = bench.copy(case.state, f"{name} {number}".replace(" ", "-"))
        paths = [next(cell.path.glob(pattern)) for pattern in (case.file, *case.others)]
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(damage(content, chance))
        harmless = any(map(says_the_same, paths, contents))
        faults.injected += 1
        end = case.command(bench, cell)
        what = f"{damage.__name__}: {end}"
        assert "Traceback" not in end.text, what
        named = any(str(paths[0]) in line for line in end.text.splitlines())
        if case.expected == "refused" and not harmless:
            assert end.code == 2, what
            assert len(end.errors) == 1, what
            assert str(paths[0]) in end.errors[0], what
            assert any(word in end.errors[0] for word in TO_DO), what
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            end = case.command(bench, cell)
        elif case.expected == "recovered" and not harmless:
            assert named, what
        assert end.code == 0, what
        assert numbers_of(cell) == through, what
        assert strays(cell.path) == []
        faults.overcome(named=named)
        shutil.rmtree(cell.path)


def expected_of(bench: Bench, case: Case) -> dict[str, Any]:
    """What the command makes of undamaged files."""
    cell = bench.copy(case.state, "undamaged")
    assert case.command(bench, cell).code == 0
    found = numbers_of(cell)
    shutil.rmtree(cell.path)
    return found


def test_a_damaged_data_cache(
    tmp_path: Path, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    """It is made again, with a word, or read as it was."""
    faults = tally("damage: data cache")
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    samples = Samples([number % 4 for number in range(20)], images)
    source = Source(("a", "b", "c", "d"), (3, 8, 8), samples, samples)
    path = cached(tmp_path / "cache", lambda: source).path
    content, expected = path.read_bytes(), read_cache(path).sha256
    for damage in DAMAGES * ROUNDS:
        path.unlink()
        path.write_bytes(damage(content, chance))
        harmless = says_the_same(path, content)
        faults.injected += 1
        end = ended(lambda: cached_again(tmp_path / "cache", source, expected), tmp_path / "log")
        assert end.code == 0, end
        named = f"{path} is " in end.text and "it is made again" in end.text
        assert named or harmless
        faults.overcome(named=named)


def cached_again(folder: Path, source: Source, expected: str) -> int:
    found = cached(folder, lambda: source)
    same = np.array_equal(found.arrays["train_images"], np.array(list(source.train.images)))
    return 0 if same and found.sha256 == expected else 1


@pytest.mark.parametrize("damage", [cut_short, emptied, flipped, zeroed], ids=lambda d: d.__name__)
def test_a_damaged_journal_of_submitted_jobs(
    damage: Damage, tmp_path: Path, chance: random.Random, tally: Callable[[str], Tally]
) -> None:
    """The head is killed, its journal damaged, and the same command makes everything."""
    faults = tally("damage: journal of jobs")
    toy = Toy(tmp_path / "toy", "local", options=("--submitit-cores", "4"))
    head = toy.start(command="sleep 3")
    toy.wait_for_starts(2)
    head.kill()
    journal = toy.folder / ".snakemake/submitit/jobs.jsonl"
    journal.write_bytes(damage(journal.read_bytes(), chance))
    lines = Journal.read(journal.parent).damaged
    faults.injected += 1
    said = toy.run(command="sleep 3")
    assert toy.made == ["a", "b"]
    assert "Traceback" not in said
    assert ("jobs.jsonl is damaged: left out: line" in said) == bool(lines)
    wait_until(lambda: not processes_of(toy.folder))
    assert "Nothing to be done" in toy.run(command="sleep 3")
    faults.overcome(named=bool(lines))
