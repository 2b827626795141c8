"""Some samples stand for all: every class in its share, evenly spaced."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raat_core.data.dataset import Split, hold_out, load_data_set
from raat_core.data.sampling import evenly_spaced, stratified


def counts(labels: torch.Tensor, classes: int) -> list[int]:
    return torch.bincount(labels, minlength=classes).tolist()


def test_digits_whose_classes_come_in_a_cycle() -> None:
    """Evenly spaced over all, 36 of 360 had 13, 1, 4, 5, 1, 4, 0, 0, 8, 0 of the ten classes."""
    labels = load_data_set("digits").test.labels
    assert counts(labels[evenly_spaced(360, 36)], 10) == [13, 1, 4, 5, 1, 4, 0, 0, 8, 0]
    assert sorted(counts(labels[stratified(labels, 36)], 10)) == [3, 3, 3, 3, 4, 4, 4, 4, 4, 4]
    assert counts(labels[stratified(labels, 40)], 10) == [4] * 10


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.data())
def test_shares_are_the_classes_own(classes: list[int], data: st.DataObject) -> None:
    labels = torch.tensor(classes)
    count = data.draw(st.integers(0, len(classes)))
    chosen = stratified(labels, count)
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == count
    for size, share in zip(counts(labels, 7), counts(labels[chosen], 7), strict=True):
        quota = size * count / len(classes)
        assert math.floor(quota) <= share <= math.ceil(quota)
    for label in range(7):
        places = torch.nonzero(labels == label)[:, 0]
        among = torch.searchsorted(places, chosen[labels[chosen] == label])
        gaps = np.diff(among.numpy())
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_all_are_all_in_their_order() -> None:
    labels = load_data_set("digits").test.labels
    assert stratified(labels, 360).equal(torch.arange(360))


def test_equal_remainders_go_to_the_lower_classes() -> None:
    labels = torch.tensor([2, 1, 0, 2, 1, 0])
    assert counts(labels[stratified(labels, 4)], 3) == [2, 1, 1]


@pytest.mark.parametrize("sizes", [(40, 4), (4, 4, 4), (100, 1, 2)])
def test_of_a_class_of_four_one_is_held_out(sizes: tuple[int, ...]) -> None:
    """Of a class of one sample none is: it would be in no epoch."""
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    split = Split(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, 255)
    kept, held_out = hold_out(split, 0.1)
    assert len(kept) + len(held_out) == len(labels)
    of_classes = zip(sizes, counts(held_out.labels, len(sizes)), strict=True)
    for size, of_class in of_classes:
        assert of_class == (0 if size == 1 else max(1, round(0.1 * size)))
