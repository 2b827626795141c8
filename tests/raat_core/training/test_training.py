"""Training: what it leaves, that it resumes bit for bit, and that it stops for good reasons."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SMALL_CELL, TOY_METHOD, short_method, small_cell
from outcomes import assert_equal_outcome, history_of, interrupted, run_with_stops, train
from raat_core import api
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import read_cell
from raat_core.cells.weights import read_weights
from raat_core.data.dataset import DataSet, hold_out
from raat_core.errors import Interrupted, UserError
from raat_core.files.locks import exclusive
from raat_core.interface.registry import BUILT_IN_METHODS, method_class
from raat_core.training.reporter import Reporter
from raat_core.training.selection import splits

METHODS = [
    *(short_method(name) for name in BUILT_IN_METHODS),
    short_method("raat", variant="released"),
    # Two models to evaluate have more chances to stop than `every`, and no evaluation would end.
    *(short_method(name, variant="released", evaluate_online=False) for name in ("rebat", "raat#")),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
def test_an_interrupted_training_ends_as_one_that_ran_through(
    method: Any, tmp_path: Path, small_data: DataSet
) -> None:
    cell = small_cell(method=method)
    through = train(cell, tmp_path / "through", small_data)
    stopped, sessions = run_with_stops(cell, tmp_path / "stopped", small_data, every=4)
    assert sessions > 3
    assert_equal_outcome(through, stopped)
    assert len(read_manifest(stopped)["sessions"]) == sessions


def test_resume_between_evaluation_batches(tmp_path: Path, small_data: DataSet) -> None:
    cell = small_cell(selection={"steps": 2, "batch_size": 16, "split": "validation"})
    through = train(cell, tmp_path / "through", small_data)
    stopped, sessions = run_with_stops(cell, tmp_path / "stopped", small_data, every=7)
    assert sessions > 2
    assert_equal_outcome(through, stopped)


def test_a_method_state_is_resumed(tmp_path: Path, small_data: DataSet) -> None:
    """A method that remembers something between steps gets it back."""
    api.load_plugin(str(TOY_METHOD))
    selection = {"steps": 2, "batch_size": 16}
    cell = small_cell(method={"name": "toy", "smoothing": 0.2}, selection=selection)
    through = train(cell, tmp_path / "through", small_data)
    for every in (10, 11, 13):
        stopped, _ = run_with_stops(cell, tmp_path / f"stopped-{every}", small_data, every)
        assert_equal_outcome(through, stopped)


def test_what_a_finished_cell_leaves(tmp_path: Path, small_data: DataSet) -> None:
    cell = small_cell()
    folder = train(cell, tmp_path / cell.name, small_data)
    assert sorted(path.name for path in folder.path.iterdir()) == [
        ".lock",
        "best.safetensors",
        "history.csv",
        "last.safetensors",
        "manifest.json",
        "spec.json",
    ]
    assert read_cell(folder) == cell
    manifest = read_manifest(folder)
    assert manifest["digest"] == cell.digest
    assert manifest["best"]["split"] == "test"
    assert manifest["versions"]["torch"] == torch.__version__
    assert [row["epoch"] for row in history_of(folder)] == ["1", "2"]
    assert [row["learning_rate"] for row in history_of(folder)] == ["0.1", "0.010000000000000002"]
    best = max(history_of(folder), key=lambda row: float(row["robust_accuracy"]))
    assert read_weights(folder, "best").epoch == int(best["epoch"]) == manifest["best"]["epoch"]
    assert manifest["best"]["accuracy"] == float(best["robust_accuracy"])


def test_a_finished_cell_is_not_trained_again(tmp_path: Path, small_data: DataSet) -> None:
    cell = small_cell()
    folder = train(cell, tmp_path / "cell", small_data)
    before = {path: path.stat().st_mtime_ns for path in folder.path.glob("[!.]*")}
    (folder.path / "resume").mkdir()
    train(cell, tmp_path / "cell", small_data)
    assert {path: path.stat().st_mtime_ns for path in folder.path.glob("[!.]*")} == before


def test_a_cell_finished_by_another_version_is_refused(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(small_cell(), tmp_path / "cell", small_data)
    monkeypatch.setattr(method_class("pgd-at"), "version", 99)
    with pytest.raises(UserError, match="by another version"):
        train(small_cell(), tmp_path / "cell", small_data)


def test_a_cell_that_another_process_trains_is_waited_for(
    tmp_path: Path, small_data: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    # A second open file is a second holder, as another process would be.
    with ExitStack() as other:
        other.enter_context(exclusive(tmp_path, "being trained"))
        threading.Timer(0.7, other.close).start()
        started = time.monotonic()
        train(small_cell(), tmp_path, small_data)
        assert time.monotonic() - started > 0.6
    assert f"is being trained by process {os.getpid()} on " in capsys.readouterr().out


def test_waiting_for_another_process_ends_by_a_signal(tmp_path: Path, small_data: DataSet) -> None:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with exclusive(tmp_path, "being trained"), pytest.raises(Interrupted):
        train(small_cell(), tmp_path, small_data)


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path, small_data: DataSet) -> None:
    (tmp_path / "resume").mkdir()
    for name in ("history.csv.123.partial", "resume/state.safetensors.123.partial"):
        (tmp_path / name).write_text("half")
    folder = train(small_cell(), tmp_path, small_data)
    assert not list(folder.path.rglob("*.partial"))


def test_a_held_out_part_is_of_every_class(tmp_path: Path, small_data: DataSet) -> None:
    """A hundredth of a class of about 14 is none; one sample is held out all the same."""
    cell = small_cell(selection={"split": "validation", "validation_fraction": 0.01})
    kept, held_out = splits(cell, small_data)
    assert torch.bincount(held_out.labels).tolist() == [1] * small_data.classes
    assert len(kept) == len(small_data.train) - small_data.classes


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("foo", "cuda:63"):
        with pytest.raises(UserError, match=f"device = '{name}' cannot be used here"):
            api.train(small_cell(), tmp_path, device=name)


def test_a_folder_of_another_cell_is_refused(tmp_path: Path, small_data: DataSet) -> None:
    train(small_cell(), tmp_path / "cell", small_data)
    with pytest.raises(UserError, match="holds another cell"):
        train(small_cell(seed=1), tmp_path / "cell", small_data)


def test_damaged_weights_of_a_finished_cell_are_found(tmp_path: Path, small_data: DataSet) -> None:
    folder = train(small_cell(), tmp_path / "cell", small_data)
    path = folder.weights("best")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        train(small_cell(), tmp_path / "cell", small_data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_the_state_before_is_used_if_the_newest_is_damaged(
    damage: Callable[[Path], None], tmp_path: Path, small_data: DataSet
) -> None:
    cell = small_cell()
    through = train(cell, tmp_path / "through", small_data)
    folder = interrupted(cell, tmp_path / "cell", small_data, after=11)
    assert (folder.resume / "state.previous.safetensors").exists()
    damage(folder.resume / "state.safetensors")
    assert_equal_outcome(train(cell, tmp_path / "cell", small_data), through)


def test_a_damaged_state_never_replaces_a_whole_one(tmp_path: Path, small_data: DataSet) -> None:
    """Resuming from the state before, the first save must not move the damaged one over it."""
    cell = small_cell()
    through = train(cell, tmp_path / "through", small_data)
    folder = interrupted(cell, tmp_path / "cell", small_data, after=11)
    truncate(folder.resume / "state.safetensors")
    interrupted(cell, tmp_path / "cell", small_data, after=2)
    (folder.resume / "state.safetensors").unlink()
    assert_equal_outcome(train(cell, tmp_path / "cell", small_data), through)


def test_no_whole_state_is_an_error_that_says_what_to_do(
    tmp_path: Path, small_data: DataSet
) -> None:
    folder = interrupted(small_cell(), tmp_path / "cell", small_data, after=3)
    truncate(folder.resume / "state.safetensors")
    with pytest.raises(UserError, match=r"no whole state to resume from.*Remove"):
        train(small_cell(), tmp_path / "cell", small_data)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path, small_data: DataSet) -> None:
    recipe = {**SMALL_CELL["recipe"], "learning_rate": 1e30}
    with pytest.raises(UserError, match=r"term 'supervised' is nan at epoch 1, step \d") as caught:
        train(small_cell(recipe=recipe), tmp_path / "cell", small_data)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cell" / "best.safetensors").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, small_data: DataSet) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        train(small_cell(), tmp_path / "file" / "cell", small_data)


def test_seeds_and_only_seeds_change_the_weights(tmp_path: Path, small_data: DataSet) -> None:
    first = train(small_cell(), tmp_path / "first", small_data)
    torch.manual_seed(123)
    again = train(small_cell(), tmp_path / "again", small_data)
    other = train(small_cell(seed=1), tmp_path / "other", small_data)
    assert_equal_outcome(first, again)
    assert history_of(first) != history_of(other)


def test_the_validation_split_is_held_out_of_training(small_data: DataSet) -> None:
    train_split, validation = hold_out(small_data.train, 0.25)
    assert len(train_split) + len(validation) == len(small_data.train)
    assert len(validation) == round(0.25 * len(small_data.train))
    for label in range(10):
        share = 0.25 * int((small_data.train.labels == label).sum())
        assert abs(int((validation.labels == label).sum()) - share) < 1
    everything = torch.cat([train_split.images, validation.images]).flatten(1)
    original = small_data.train.images.flatten(1)
    assert sorted(map(tuple, everything.tolist())) == sorted(map(tuple, original.tolist()))


def test_the_reporter_hears_of_every_step(tmp_path: Path, small_data: DataSet) -> None:
    class Counter(Reporter):
        steps = 0
        rows: list[dict[str, Any]] = []  # noqa: RUF012

        def step_done(self) -> None:
            self.steps += 1

        def epoch_done(self, row: dict[str, Any], epochs: int) -> None:
            self.rows.append(row)

    counter = Counter()
    train(small_cell(), tmp_path / "cell", small_data, reporter=counter)
    assert counter.steps == 2 * 5
    assert [row["epoch"] for row in counter.rows] == [1, 2]
    assert json.loads(json.dumps(counter.rows)) == counter.rows
