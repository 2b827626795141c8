"""One torch thread per process, and small cells that train in a second."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from faults import tally
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.data.dataset import DataSet, Split
from raat_core.files.checksums import read_json, write_sealed_json
from raat_core.interface.registry import method_class
from slurm.cluster import unavailable

torch.set_num_threads(1)

# Started in the background of a script, the tests and all they start would be deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

if find_spec("torchvision") is None:  # As on a machine that only trains.
    collect_ignore = ["raat_core/data/test_data.py"]

TOY_METHOD = Path(__file__).parent / "toy_method.py"
"""A method that is not part of the package."""
ATTACK_PLUGIN = Path(__file__).parent / "attack_plugin.py"
"""Attacks that are not: `my-square` and `fgsm`."""
NETWORK_PLUGIN = Path(__file__).parent / "plugins" / "networks"
"""Networks without BatchNorm, `vit-mini` and `group-net`, and a data set, `ink-digits`."""

FEW_CLASSES = Path(__file__).parent / "few_classes.py"
"""Data sets of two and three classes, `digits-2` and `digits-3`."""
TOY_DISTILLATION = Path(__file__).parent / "toy_distillation.py"
"""Another one, which needs a teacher."""

SMALL_CELL: dict[str, Any] = {
    "dataset": "digits",
    "architecture": "resnet-mini",
    "method": "pgd-at",
    "threat_model": {"norm": "linf", "epsilon": 0.15, "step_size": 0.05, "steps": 2},
    "recipe": {
        "epochs": 2,
        "batch_size": 32,
        "decay_epochs": [1],
        "augmentation": {"crop_padding": 1, "flip": False},
    },
    "selection": {"steps": 2},
    "seed": 0,
}
GRID: dict[str, Any] = {
    "datasets": ["digits"],
    "architectures": ["resnet-mini"],
    "methods": ["PGD-AT"],
    "seeds": [0],
}
"""In a config: one such network, trained by one method."""


def small_cell(**changes: Any) -> Cell:
    """A cell that trains in about a second on `small_data`; `changes` replace whole keys."""
    return api.cell({**SMALL_CELL, **changes})


def say_trained_on_digits(folder: CellFolder) -> None:
    """Of a cell that was trained on `small_data`, for commands that attack all test images."""
    manifest = read_json(folder.manifest)
    data_sha256 = api.load_data_set("digits").sha256
    write_sealed_json(folder.manifest, {**manifest, "data_sha256": data_sha256})


def short_method(name: str, **settings: Any) -> dict[str, Any]:
    """A method's config that a cell of two epochs can have: averaging starts after the first."""
    averages = "average_from" in method_class(name).Settings.config_keys()
    return {"name": name, **({"average_from": 1} if averages else {}), **settings}


@pytest.fixture(scope="session")
def small_data() -> DataSet:
    """A few of the real digits: 136 to train on (so that the last batch is ragged), 60 to test."""
    digits = api.load_data_set("digits")

    def first(split: Split, count: int) -> Split:
        return split.take(torch.arange(count))

    return DataSet(first(digits.train, 136), first(digits.test, 60), digits.classes)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Sum up the faults; say loudly that what SLURM does was not tested, where there is none."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    found = [
        value
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == tally.PROPERTY and report.when == "call"
    ]
    if found:
        terminalreporter.section("faults")
        for line in tally.lines(tally.summed(found)):
            terminalreporter.line(line)
    reason = unavailable(accounting=True)
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "tests/slurm/" in r.nodeid]
    if reason and skipped:
        terminalreporter.section("NO SLURM HERE", sep="!")
        terminalreporter.line(f"{len(skipped)} tests against a real SLURM did not run: {reason}")
