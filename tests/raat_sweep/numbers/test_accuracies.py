"""Which records count as a cell's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from raat_sweep.numbers.accuracies import measure
from raat_sweep.numbers.images import notes_on_images
from raat_sweep.numbers.outcomes import OTHER_IMAGES, OTHER_WEIGHTS, Records
from record_files import write_manifest, write_record

ROWS = [{"cell": "a", "record": "r", "metric": "clean"}]


@pytest.mark.parametrize(
    ("manifest", "record", "gap"),
    [
        ({"data_sha256": "d"}, {"data_sha256": "d", "test_size": 2}, ""),
        ({"data_sha256": "d"}, {"data_sha256": "other"}, OTHER_IMAGES),
        ({"data_sha256": "d", "test_size": 2}, {"data_sha256": "d", "test_size": 3}, OTHER_IMAGES),
        ({"data_sha256": "d"}, {}, ""),  # As records were that do not say it.
        ({}, {"data_sha256": "d", "test_size": 2}, ""),
        ({"data_sha256": None}, {"data_sha256": "d"}, ""),
        ({"data_sha256": "d"}, {"data_sha256": "d", "weights_sha256": "other"}, OTHER_WEIGHTS),
        ({"data_sha256": "d"}, {"data_sha256": "d", "checkpoint": "last"}, OTHER_WEIGHTS),
    ],
)
def test_a_record_is_of_the_cells_weights_and_images(
    tmp_path: Path, manifest: dict[str, Any], record: dict[str, Any], gap: str
) -> None:
    write_manifest(tmp_path, "a", **manifest)
    write_record(tmp_path, "a", "r", [1, 0], **record)
    (found,) = measure(ROWS, Records(tmp_path)).to_dict("records")
    assert found["gap"] == gap
    assert (found["samples"], math.isnan(found["accuracy"])) == ((0, True) if gap else (2, False))


def test_cells_of_other_images_than_most_are_named(tmp_path: Path) -> None:
    rows = []
    for seed, data in enumerate(("d", "d", "other", None)):
        write_manifest(tmp_path, f"s{seed}", data_sha256=data)
        write_record(tmp_path, f"s{seed}", "r", [1, 0], data_sha256=data)
        rows.append({**ROWS[0], "cell": f"s{seed}", "seed": seed, "dataset": "Digits"})
    records = Records(tmp_path)
    measured = measure(rows, records)
    (note,) = notes_on_images(measured, records)
    assert note.reason == "Digits other, unlike 2 of d"
    assert note.cells == [("s2", " (seed 2)", "")]
    assert notes_on_images(measured[measured["seed"] != 2], records) == []


@pytest.mark.parametrize(("weights", "gap"), [("last", ""), ("older", OTHER_WEIGHTS)])
def test_a_record_is_of_the_model_that_its_attack_used(
    tmp_path: Path, weights: str, gap: str
) -> None:
    write_manifest(tmp_path, "a")
    write_manifest(tmp_path, "b")
    source = {"cell": "b", "checkpoint": "last", "weights_sha256": weights}
    write_record(tmp_path, "a", "r", [1, 0], sources={"source": source})
    (found,) = measure(ROWS, Records(tmp_path)).to_dict("records")
    assert found["gap"] == gap
