"""Checks of a data set: loaded twice, and held against what it says of itself."""

from __future__ import annotations

from pathlib import Path

import torch

from raat_core.cells.catalogue import DATA_SETS
from raat_core.checking.draws import GENERATORS, Draws, seed_generators, undisturbed
from raat_core.checking.findings import Report
from raat_core.checking.places import Code
from raat_core.checking.registered import Extension
from raat_core.data.dataset import DataSet, Split, checksum, load_data_set


def check_data_set(extension: Extension, data_root: Path | None = None) -> Report:
    """Load a data set twice.

    Args:
        extension: the data set.
        data_root: where data lies; without, the environment's RAAT_DATA, or `data`.
    """
    report, info = extension.report(), DATA_SETS[extension.name]
    channels, height, width = info.image_shape
    report.facts.append(
        f"{info.title}: {info.train_size:,} training and {info.test_size:,} test images of "
        f"{channels} × {height} × {width}, {info.classes} classes"
    )
    code = Code(extension.files)
    with undisturbed():
        try:
            draws = Draws(code)
            seed_generators("once")
            with draws:
                data = load_data_set(extension.name, data_root)
            seed_generators("again")
            again = load_data_set(extension.name, data_root)
        except Exception as error:  # Whatever the author's function raises.
            # What it raised stands behind the line that a user is told.
            cause = error.__cause__
            report.wrong("fails", code.explain(cause if isinstance(cause, Exception) else error))
            return report
    _check_checksum(data, again, draws, report)
    for part, split in (("training", data.train), ("test", data.test)):
        _check_pixels(part, split, report)
        _check_labels(part, split, data.classes, report)
    return report


def _check_checksum(data: DataSet, again: DataSet, draws: Draws, report: Report) -> None:
    if (data.sha256, checksum(data)) == (again.sha256, checksum(again)):
        report.passed.append(f"the same when loaded twice, sha256 {data.sha256:.12}")
        return
    places = [f"{at} draws from {GENERATORS[name]}" for name, at in draws.found if at is not None]
    why = f": {'; '.join(places)}" if places else ""
    report.wrong(
        "checksum",
        f"its images or labels are others when it is loaded again{why}; they may depend on its "
        f"files alone",
    )


def _check_pixels(part: str, split: Split, report: Report) -> None:
    lowest, highest = int(split.images.min()), int(split.images.max())
    report.facts.append(f"{part} pixels from {lowest} to {highest}, levels {split.levels}")
    if lowest == highest:
        report.wrong("pixels", f"all {part} pixels are {lowest}")
    elif highest <= split.levels // 2:
        report.wrong(
            "pixels",
            f"the largest {part} pixel is {highest} and levels = {split.levels}: images would be "
            f"in [0, {highest / split.levels:.2g}], and epsilon is of [0, 1]; give the pixels' "
            f"largest value as levels",
        )


def _check_labels(part: str, split: Split, classes: int, report: Report) -> None:
    counts = torch.bincount(split.labels, minlength=classes)
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if empty:
        some = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        report.hint("labels", f"no {part} image is of class {some}")
