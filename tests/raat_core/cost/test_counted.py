"""Operations of an architecture that does not say them: counted by jobs, assumed until then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conftest import small_cell
from plugin_files import write_extensions
from raat_core import api
from raat_core.cost import flop
from raat_core.cost.flop import note_counted, operations, operations_are_assumed
from raat_core.interface import Architecture, register
from raat_core.interface.operations import Operations
from raat_core.interface.plugins import load_plugin
from raat_core.models.count import count_operations

SHAPE = (1, 8, 8)
STEM = 2 * 16 * 16 * 4
FORWARD = STEM + 2 * 16 * 32 + 2 * 32 * 10


class LooksAtValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.out(images.flatten(1))
        return outputs * 2 if outputs.sum().item() > 0 else outputs


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    """Not when tests are collected: those of other files are of all that there is then."""
    register(Architecture("looks-at-values", "Looks"))(build)


def build(channels: int, classes: int, image_size: int) -> nn.Module:
    return LooksAtValues()


@pytest.mark.parametrize("name", ["resnet-mini", "preact-resnet-18"])
def test_a_count_is_what_an_architecture_says(name: str) -> None:
    assert count_operations(name, "digits") == operations(name, SHAPE, 10)


def test_a_model_that_looks_at_values_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.random.get_rng_state()
    assert count_operations("looks-at-values", "digits") == Operations(1280, 1280)
    assert torch.equal(before, torch.random.get_rng_state())


def test_operations_are_assumed_until_they_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flop, "_counted", {})
    load_plugin(str(write_extensions(tmp_path / "plugin", "net-c", "digits-c")))
    assert operations("net-c", SHAPE, 10) == operations("resnet-18", SHAPE, 10)
    assert operations_are_assumed("net-c", SHAPE)
    assert not operations_are_assumed("resnet-18", SHAPE)
    cell = small_cell(dataset="digits-c", architecture="net-c")
    folder = api.train(cell, tmp_path / "cell")
    counted = json.loads((folder / "manifest.json").read_text())["operations"]
    assert counted == {"forward": FORWARD, "stem": STEM}
    note_counted("net-c", SHAPE, Operations(**counted))
    assert operations("net-c", SHAPE, 10).forward == FORWARD
    assert not operations_are_assumed("net-c", SHAPE)


def test_measure_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raat_core.cost import measure

    monkeypatch.setattr(flop, "_counted", {})
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    file = measure.measure(["looks-at-values", "resnet-mini"], "digits", 8, torch.device("cpu"))
    of_mine, of_built_in = file.timings[0], file.timings[2]
    assert of_mine.operations is not None
    assert of_mine.operations.operations == Operations(1280, 1280)
    assert "operations" not in of_built_in.model_dump(mode="json")
