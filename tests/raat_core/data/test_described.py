"""What a loader returns is held against what its data set is said to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from raat_core.data.dataset import DataSet, Split, load_data_set
from raat_core.errors import UserError
from raat_core.interface import DataSetSpec, register

SPEC = DataSetSpec("made-up", "Made up", (1, 2, 2), classes=3, train_size=4, test_size=3)
returned: list[Any] = []


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    """Not when tests are collected: those of other files are of all that there is then."""
    register(SPEC)(load)


def load(root: Any, check_stop: Any) -> Any:
    return returned[-1]


def split(count: int, levels: Any = 16, **changes: Any) -> Split:
    images = torch.arange(4 * count, dtype=torch.uint8).reshape(count, 1, 2, 2)
    labels = torch.arange(count) % 3
    return Split(changes.get("images", images), changes.get("labels", labels), levels)


def test_what_is_as_described_gets_a_checksum() -> None:
    returned.append(DataSet(split(4), split(3), 3))
    first = load_data_set("made-up").sha256
    returned.append(DataSet(split(4), split(3, labels=torch.tensor([0, 1, 1])), 3))
    assert first != load_data_set("made-up").sha256
    returned.append(DataSet(split(4), split(3), 3, sha256="given"))
    assert load_data_set("made-up").sha256 == "given"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: None, "its function returned NoneType, not a raat_core.data.dataset.DataSet"),
        (lambda: DataSet(split(4), split(3), 2), "made-up: 2 classes, not 3"),
        (lambda: DataSet(split(5), split(3), 3), r"train: images are uint8 \(5, 1, 2, 2\), not ui"),
        (
            lambda: DataSet(split(4), split(3, images=torch.rand(3, 1, 2, 2)), 3),
            r"test: images are float32 \(3, 1, 2, 2\), not uint8 \(3, 1, 2, 2\)",
        ),
        (
            lambda: DataSet(split(4), split(3, images=torch.zeros(3).numpy()), 3),
            r"test: images are ndarray, not a torch.Tensor",
        ),
        (
            lambda: DataSet(split(4, labels=torch.zeros(4)), split(3), 3),
            r"train: labels are float32 \(4,\), not int64 \(4,\)",
        ),
        (
            lambda: DataSet(split(4, labels=torch.tensor([0, 1, 2, 3])), split(3), 3),
            "train: labels are from 0 to 3, not from 0 to 2",
        ),
        (lambda: DataSet(split(4, levels=1.0), split(3), 3), "levels = 1.0: must be a whole"),
        (
            lambda: DataSet(split(4, levels=14), split(3), 3),
            "levels = 14, and the largest pixel",
        ),
    ],
)
def test_what_is_not_is_one_line(make: Callable[[], object], said: str) -> None:
    returned.append(make())
    with pytest.raises(UserError, match=said) as caught:
        load_data_set("made-up")
    assert "\n" not in str(caught.value)
