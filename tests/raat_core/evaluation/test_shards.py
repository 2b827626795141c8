"""Attacks in parts: interrupted, killed, shared out, joined; the record is always the same."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack

from conftest import SMALL_CELL, say_trained_on_digits, small_cell
from raat_core import api
from raat_core.cells.evaluations import (
    AutoAttackEvaluation,
    CleanEvaluation,
    Evaluation,
    EvaluationList,
    PgdEvaluation,
    evaluation_name,
)
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation import run
from raat_core.evaluation.batch import Samples, attack_batch, predict_batch
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Part, Shard, in_words, missing, whole
from raat_core.evaluation.records import Record
from raat_core.evaluation.run import evaluate_cell

CPU = torch.device("cpu")
BALL: dict[str, Any] = {"norm": "linf", "epsilon": Fraction(3, 20)}
PGD = PgdEvaluation(**BALL, step_size=Fraction(1, 20), steps=3, restarts=2, batch_size=7)
"""Nine batches of the 60 test images, the last one of 4."""
L2: dict[str, Any] = {"norm": "l2", "epsilon": Fraction(4, 5)}
AUTOATTACKS = [AutoAttackEvaluation(**ball, samples=8, batch_size=3) for ball in (BALL, L2)]
ATTACKS: list[Evaluation] = [CleanEvaluation(batch_size=7), PGD, *AUTOATTACKS]


@pytest.fixture(scope="module", autouse=True)
def short_autoattack() -> Iterator[None]:
    """AutoAttack with few steps: all of its attacks run, in a second."""
    original = AutoAttack._set_version

    def shortened(attack: Any, version: str = "standard") -> None:
        original(attack, version)
        attack.square.n_queries = 50
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = 5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoAttack, "_set_version", shortened)
        yield


@pytest.fixture(scope="module")
def small_data() -> DataSet:
    """Enough of the digits for a model that is right, wrong, fooled and not fooled."""
    digits = api.load_data_set("digits")
    train, test = (
        split.take(torch.arange(count)) for split, count in ((digits.train, 600), (digits.test, 60))
    )
    return DataSet(train, test, digits.classes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_data: DataSet) -> CellFolder:
    recipe = {**SMALL_CELL["recipe"], "epochs": 4, "decay_epochs": [3]}
    folder = tmp_path_factory.mktemp("trained")
    return CellFolder(api.train(small_cell(recipe=recipe), folder, device="cpu", data=small_data))


@pytest.fixture
def cell(trained: CellFolder, tmp_path: Path) -> CellFolder:
    """A copy of the trained cell without records."""
    shutil.copytree(trained.path, tmp_path / "cell")
    return CellFolder(tmp_path / "cell")


@pytest.fixture(scope="module")
def undisturbed(
    trained: CellFolder, small_data: DataSet, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Record]:
    """Records by name of all attacks, each run in one go."""
    folder = CellFolder(tmp_path_factory.mktemp("undisturbed") / "cell")
    shutil.copytree(trained.path, folder.path)
    attack(folder, small_data, *ATTACKS)
    records = {name(each): Record.read(folder.record(name(each))) for each in ATTACKS}
    for record in records.values():
        assert 0 < record.accuracy < 100
        assert len(set(record.prediction.tolist())) > 2
    return records


def name(evaluation: Evaluation) -> str:
    return evaluation_name(evaluation, "best")


def attack(folder: CellFolder, data: DataSet, *attacks: Evaluation, **more: Any) -> dict[str, Any]:
    return evaluate_cell(folder, EvaluationList(attacks=attacks), data, CPU, **more)


def join(folder: CellFolder, *attacks: Evaluation, **more: Any) -> dict[str, Any]:
    return join_cell(folder, EvaluationList(attacks=attacks), **more)


def parts_of(folder: CellFolder) -> list[str]:
    """Names of the parts, without the record's."""
    paths = folder.parts.glob("*") if folder.parts.exists() else []
    return sorted(path.name.split(".", 1)[1] for path in paths)


def assert_equal(found: Record, expected: Record) -> None:
    for array in ("index", "label", "prediction"):
        assert np.array_equal(getattr(found, array), getattr(expected, array)), array
    assert found.index.dtype == np.int32
    own = ("seconds", "finished", "parts", "git_commit", "work")
    assert counts_of(found) == counts_of(expected)
    assert {k: v for k, v in found.metadata.items() if k not in own} == {
        k: v for k, v in expected.metadata.items() if k not in own
    }


def counts_of(record: Record) -> dict[str, tuple[int, int]]:
    """Images and gradients that parts of an attack took, which no clock says."""
    work = record.metadata.get("work", {})
    return {name: (each["forwards"], each["gradients"]) for name, each in work.items()}


def stop_at(call: int) -> Callable[[], None]:
    """A `check_stop` that stops at a call, counted from 1."""
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise Interrupted(15)

    return check


# Shares


@pytest.mark.parametrize(("count", "shards"), [(9, 1), (9, 2), (9, 4), (9, 9), (3, 8), (40, 7)])
def test_shards_cover_all_batches_once_and_evenly(count: int, shards: int) -> None:
    shares = [Shard(number, shards).batches(count) for number in range(1, shards + 1)]
    assert [number for share in shares for number in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_gaps_are_named_from_one() -> None:
    record = Record(*(np.zeros(0, np.int32),) * 3, {})
    parts = [Part(range(2, 4), record), Part(range(5, 6), record)]
    gaps = missing(parts, range(8))
    assert gaps == [range(2), range(4, 5), range(6, 8)]
    assert in_words(gaps, 8) == "1-2, 5, 7-8 of 8 batches"
    assert missing(parts, range(2, 4)) == []


def test_overlapping_parts_make_one_record() -> None:
    def part(first: int, last: int) -> Part:
        values = np.arange(2 * first, min(2 * last, 9), dtype=np.int32)
        session = {"seconds": 1.0, "finished": f"2026-01-0{last}", "git_commit": None}
        where = {"scheduler_job": None, "hardware": "cpu", "versions": "1"}
        made = {**session, **where, "attack": PGD.to_json()}
        return Part(range(first, last), Record(values, values, values, made))

    parts = [part(0, 2), part(3, 5), part(0, 3), part(1, 2), part(2, 4)]
    record = whole(parts, 2)
    assert record.index.tolist() == list(range(9))
    assert [each["batches"] for each in record.metadata["parts"]] == [[1, 3], [4, 4], [5, 5]]
    assert record.metadata["seconds"] == 3.0
    assert record.metadata["finished"] == "2026-01-05"
    assert whole([part(0, 5)], 2).metadata == part(0, 5).record.metadata


# A batch by itself


@pytest.mark.parametrize("evaluation", ATTACKS, ids=name)
def test_a_batch_depends_on_no_other(
    evaluation: Evaluation, trained: CellFolder, small_data: DataSet, undisturbed: dict[str, Record]
) -> None:
    model = api.load(trained.path, device="cpu")
    expected = undisturbed[name(evaluation)]
    last = evaluation.batches(60) - 1
    index = torch.from_numpy(expected.index[last * evaluation.batch_size :]).long()
    images, labels = small_data.test.batch(index)
    found = predict_batch(model, evaluation, last, images, labels)
    assert found.tolist() == expected.prediction[last * evaluation.batch_size :].tolist()


# Interruptions


@pytest.mark.parametrize("evaluation", [ATTACKS[0], PGD], ids=name)
def test_interrupted_anywhere(
    evaluation: Evaluation, cell: CellFolder, small_data: DataSet, undisturbed: dict[str, Record]
) -> None:
    """Every sitting is stopped at a random moment until one comes through."""
    moments, sittings = random.Random(1), 0
    while not cell.record(name(evaluation)).exists():
        sittings += 1
        with contextlib.suppress(Interrupted):
            stop = stop_at(moments.randrange(2, 7) if sittings < 9 else 1000)
            attack(cell, small_data, evaluation, check_stop=stop)
    record = Record.read(cell.record(name(evaluation)))
    assert sittings > 2
    assert_equal(record, undisturbed[name(evaluation)])
    assert parts_of(cell) == []
    assert 2 < len(record.metadata["parts"]) <= sittings
    assert sum(part["seconds"] for part in record.metadata["parts"]) == pytest.approx(
        record.metadata["seconds"], abs=0.01
    )


def test_an_interrupted_autoattack_goes_on_with_the_next_batch(
    cell: CellFolder, small_data: DataSet, undisturbed: dict[str, Record]
) -> None:
    (evaluation, _) = AUTOATTACKS
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        if "kept" in line:
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        attack(cell, small_data, evaluation, report=report)
    assert parts_of(cell) == ["1-1.safetensors"]
    said.clear()
    attack(cell, small_data, evaluation, report=said.append)
    assert said[:2] == [
        "autoattack: 1 of 3 batches are kept",
        "autoattack: 2 of 3 batches are attacked and kept",
    ]
    assert_equal(Record.read(cell.record(name(evaluation))), undisturbed[name(evaluation)])


def test_quick_batches_are_saved_now_and_then(
    cell: CellFolder, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    attack(cell, small_data, PGD, report=said.append)
    assert len(said) == 1
    cell.record(name(PGD)).unlink()
    monkeypatch.setattr(run, "SAVE_EVERY", 0.0)
    attack(cell, small_data, PGD, report=said.append)
    assert [line for line in said if "kept" in line] == [
        f"pgd-3 ×2 restarts: {kept} of 9 batches are attacked and kept"
        for kept in ("1", "1-2", "1-3", "1-4", "1-5", "1-6", "1-7", "1-8")
    ]


def test_a_failure_keeps_what_is_done(
    cell: CellFolder, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any, evaluation: Any, samples: Samples, *more: Any) -> Any:
        if samples.number == 3:
            raise RuntimeError("out of memory")
        return attack_batch(model, evaluation, samples, *more)

    monkeypatch.setattr("raat_core.evaluation.run.attack_batch", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        attack(cell, small_data, PGD)
    assert parts_of(cell) == ["1-3.safetensors"]


def attack_in_child(folder: Path, data: DataSet, shard: Shard | None) -> None:
    torch.set_num_threads(1)
    run.SAVE_EVERY = 0.0
    attack(CellFolder(folder), data, PGD, AUTOATTACKS[0], shard=shard)


# Shards


def test_shards_of_every_kind_make_the_same_records(
    cell: CellFolder, small_data: DataSet, undisturbed: dict[str, Record]
) -> None:
    for number in (3, 1, 2):
        summary = attack(cell, small_data, *ATTACKS, shard=Shard(number, 3))
    assert summary["shard"] == "2/3"
    assert summary["attacks"][1]["batches"] == "4-6 of 9 batches"
    assert summary["attacks"][3]["batches"] == "2 of 3 batches"
    assert len(parts_of(cell)) == 12
    joined = join(cell, *ATTACKS)
    for evaluation, said in zip(ATTACKS, joined["attacks"], strict=True):
        record = Record.read(cell.record(name(evaluation)))
        assert_equal(record, undisturbed[name(evaluation)])
        assert len(record.metadata["parts"]) == 3
        assert said["accuracy"] == record.accuracy
        assert said["seconds"] == record.metadata["seconds"]
    assert not cell.parts.exists()
    assert joined == join(cell, *ATTACKS) == attack(cell, small_data, *ATTACKS)


def test_other_numbers_of_shards_and_no_shards_take_up_what_is_done(
    cell: CellFolder,
    small_data: DataSet,
    undisturbed: dict[str, Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attacked: list[int] = []

    def note(model: Any, evaluation: Any, samples: Samples, *more: Any) -> Any:
        attacked.append(samples.number)
        return attack_batch(model, evaluation, samples, *more)

    monkeypatch.setattr("raat_core.evaluation.run.attack_batch", note)
    attack(cell, small_data, PGD, shard=Shard(2, 3))
    attack(cell, small_data, PGD, shard=Shard(1, 2))
    assert attacked == [3, 4, 5, 0, 1, 2]
    attack(cell, small_data, PGD, shard=Shard(2, 3))
    with pytest.raises(Interrupted):
        attack(cell, small_data, PGD, check_stop=stop_at(5))
    attack(cell, small_data, PGD)
    assert sorted(attacked) == list(range(9))
    assert_equal(Record.read(cell.record(name(PGD))), undisturbed[name(PGD)])
    assert attack(cell, small_data, PGD, shard=Shard(2, 3))["attacks"][0]["record"] == name(PGD)
    assert len(attacked) == 9


def test_more_shards_than_batches_leave_some_with_nothing_to_do(
    cell: CellFolder, small_data: DataSet
) -> None:
    evaluation = CleanEvaluation(samples=4, batch_size=2)
    said = [attack(cell, small_data, evaluation, shard=Shard(n, 5)) for n in range(1, 6)]
    assert [summary["attacks"][0]["batches"] for summary in said].count("no batches") == 3
    assert join(cell, evaluation)["attacks"][0]["samples"] == 4


def test_shards_at_the_same_time(
    cell: CellFolder, small_data: DataSet, undisturbed: dict[str, Record]
) -> None:
    """Three shards, one of them twice, and the whole attack beside them."""
    context = multiprocessing.get_context("fork")
    shards = [Shard(1, 3), Shard(2, 3), Shard(3, 3), Shard(3, 3)]
    children = [
        context.Process(target=attack_in_child, args=(cell.path, small_data, shard))
        for shard in shards
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    join(cell, PGD, AUTOATTACKS[0])
    for evaluation in (PGD, AUTOATTACKS[0]):
        assert_equal(Record.read(cell.record(name(evaluation))), undisturbed[name(evaluation)])


# Parts that are no good


def test_damaged_and_foreign_parts_are_ignored_with_a_word(
    cell: CellFolder, small_data: DataSet, undisturbed: dict[str, Record]
) -> None:
    for number in (1, 2, 3):
        attack(cell, small_data, PGD, shard=Shard(number, 3))
    stem = cell.parts / name(PGD)
    first, second, third = (Path(f"{stem}.{n}.safetensors") for n in ("1-3", "4-6", "7-9"))
    first.write_bytes(first.read_bytes()[:-20])
    other = Record.read(second)
    metadata = {**other.metadata, "weights_sha256": "0" * 64}
    Record(other.index, other.label, 1 - other.prediction, metadata).write(second)
    undisturbed[name(PGD)].write(third)
    said: list[str] = []
    with pytest.raises(UserError, match=r"not attacked yet: 1-52 of 52 batches"):
        join(cell, PGD, report=said.append)
    assert len(said) == 3
    assert f"ignored: {first} is truncated" in said[0]
    assert f"ignored: {second} is no part of this attack: weights_sha256 differs" in said[1]
    said.clear()
    attack(cell, small_data, PGD, report=said.append)
    assert [line.startswith("ignored: ") for line in said] == [True, True, True, False]
    assert_equal(Record.read(cell.record(name(PGD))), undisturbed[name(PGD)])
    assert not cell.parts.exists()


def test_parts_of_other_test_images_are_ignored(cell: CellFolder, small_data: DataSet) -> None:
    attack(cell, small_data, PGD, shard=Shard(1, 3))
    (path,) = cell.parts.iterdir()
    part = Record.read(path)
    replace(part, metadata={**part.metadata, "data_sha256": "0" * 64}).write(path)
    said: list[str] = []
    attack(cell, small_data, PGD, report=said.append)
    assert "data_sha256 differs" in said[0]
    assert "parts" not in Record.read(cell.record(name(PGD))).metadata


def test_what_a_process_left_when_it_died_goes_in_the_end(
    cell: CellFolder, small_data: DataSet
) -> None:
    attack(cell, small_data, PGD, shard=Shard(1, 3))
    (cell.parts / f"{name(PGD)}.1-4.safetensors.n1.123.partial").write_bytes(b"half")
    attack(cell, small_data, PGD)
    assert not cell.parts.exists()
    attack(cell, small_data, ATTACKS[0])
    cell.parts.mkdir()
    (cell.parts / f"{name(PGD)}.1-3.safetensors").write_bytes(b"after the record was written")
    attack(cell, small_data, PGD)
    assert not cell.parts.exists()


# Joining


def test_join_names_what_is_missing_and_writes_the_rest(
    cell: CellFolder, small_data: DataSet
) -> None:
    clean = ATTACKS[0]
    attack(cell, small_data, clean, PGD, shard=Shard(2, 4))
    for number in (1, 3, 4):
        attack(cell, small_data, clean, shard=Shard(number, 4))
    with pytest.raises(UserError) as caught:
        join(cell, clean, PGD, AUTOATTACKS[0])
    assert str(caught.value).splitlines() == [
        f"{cell.path}: pgd-3 ×2 restarts ({name(PGD)}): not attacked yet: 1-2, 5-9 of 9 batches",
        f"{cell.path}: autoattack ({name(AUTOATTACKS[0])}): not attacked yet: 1-3 of 3 batches",
    ]
    assert cell.record(name(clean)).exists()
    assert not cell.record(name(PGD)).exists()


def test_join_waits_for_files_of_other_machines(
    cell: CellFolder, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack(cell, small_data, PGD, shard=Shard(1, 2))
    attack(cell, small_data, PGD, shard=Shard(2, 2))
    late = cell.parts / f"{name(PGD)}.5-9.safetensors"
    late.rename(cell.path / "elsewhere")
    monkeypatch.setattr(time, "sleep", lambda seconds: (cell.path / "elsewhere").rename(late))
    assert join(cell, PGD, wait=30)["attacks"][0]["samples"] == 60


def test_the_command_line(cell: CellFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """On the 360 test images of the digits, which `small_data` has a part of."""
    say_trained_on_digits(cell)
    attacks = json.dumps([{"kind": "clean", "batch_size": 100}])
    command = [str(cell.path), "--attacks", attacks]
    assert main(["attack", *command, "--shard", "2/2"]) == 0
    assert "clean: shard 2/2: 3-4 of 4 batches attacked" in capsys.readouterr().out
    assert main(["join", *command]) == 2
    assert "not attacked yet: 1-2 of 4 batches" in capsys.readouterr().err
    assert main(["attack", *command, "--shard", "1/2"]) == 0
    summary = cell.path / "summary.json"
    assert main(["join", *command, "--shards", "2", "--summary", str(summary)]) == 0
    said = json.loads(summary.read_text())
    assert (said["shards"], said["attacks"][0]["samples"]) == (2, 360)
    with pytest.raises(SystemExit):
        main(["attack", *command, "--shard", "3/2"])
    assert "'3/2': must be like 3/8" in capsys.readouterr().err
