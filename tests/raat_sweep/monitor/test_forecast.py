"""When a sweep will be done, by what its cells took."""

from __future__ import annotations

import pytest

import sweep_folders
from raat_sweep.commands.watch import totals
from sweep_folders import MakeFolders, in_shards

make = sweep_folders.make


def test_a_list_in_shards_ends_sooner(make: MakeFolders) -> None:
    folders = make(2)
    ends = []
    for shards in (3, 2):
        in_shards(folders, shards)
        folders.finish(0)
        folders.attack(0, seconds=300.0)
        folders.finish(1, age=5)
        folders.attack(1, lists=1, seconds=300.0)
        forecast = folders.look().forecast
        assert forecast is not None
        ends.append(forecast.seconds)
    assert ends == [100, 150]


def test_forecast_goes_by_cells_alike(make: MakeFolders) -> None:
    folders = make(4)
    folders.finish(0)
    folders.attack(0, seconds=100.0)
    folders.train(1, 4, age=20, seconds=50.0)
    folders.train(2, 9, age=10, seconds=70.0)
    # Left: of 1 6 x 50 - 20, of 2 1 x 70 - 10, and of 3 10 x (60 + 50 + 70) / 3; 200 of attacks.
    first, second, third = 280 + 200, 60 + 200, 600 + 200
    forecast = folders.look().forecast
    assert forecast is not None
    assert forecast.seconds == pytest.approx(max(first, second + third))
    assert forecast.at_a_time == 2
    assert totals(folders.look()).endswith("; all done in about 18 min at 2 cells at a time")
    folders.log(3, "error: no\n")
    assert totals(folders.look()).endswith("; the others done in about 8 min at 2 cells at a time")


def test_no_forecast_where_files_do_not_say_enough(make: MakeFolders) -> None:
    folders = make(2, methods=("PGD-AT", "TRADES"))
    folders.train(0, 4, age=20)
    assert folders.look().forecast is None, "no attack has been timed"
    folders.finish(1)
    folders.attack(1)
    assert folders.look().forecast is None, "no epoch of the other method has been timed"
    folders.train(2, 1, age=10_000)
    assert folders.look().forecast is not None
    folders.train(0, 4, age=10_000)
    assert folders.look().forecast is None, "nothing runs"
