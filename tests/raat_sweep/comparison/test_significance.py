"""Paired t-tests, against scipy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from raat_sweep.comparison.significance import PairedTest


@given(arrays(float, st.integers(2, 30), elements=st.floats(-50, 50, width=32)))
def test_the_two_sided_test_is_scipys(differences: np.ndarray[Any, Any]) -> None:
    if stats.sem(differences) < 1e-6:
        return
    expected = stats.ttest_1samp(differences, 0.0).pvalue
    assert PairedTest.of(differences).p == pytest.approx(expected, rel=1e-6)


@given(arrays(float, st.integers(2, 30), elements=st.floats(-5, 5, width=32)))
def test_equality_is_the_larger_of_two_one_sided_tests(differences: np.ndarray[Any, Any]) -> None:
    if stats.sem(differences) < 1e-6:
        return
    above = stats.ttest_1samp(differences, -2.0, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, 2.0, alternative="less").pvalue
    assert PairedTest.of(differences, margin=2.0).p == pytest.approx(max(above, below), rel=1e-6)


@given(arrays(float, st.integers(2, 30), elements=st.floats(-5, 5, width=32)))
def test_against_equality_is_a_test_beyond_the_margin(differences: np.ndarray[Any, Any]) -> None:
    if stats.sem(differences) < 1e-6:
        return
    turned = differences if differences.mean() >= 0 else -differences
    expected = stats.ttest_1samp(turned, 2.0, alternative="greater").pvalue
    assert PairedTest.of(differences, margin=2.0).p_against == pytest.approx(expected, rel=1e-6)


def test_no_spread_and_too_few_pairs() -> None:
    assert math.isnan(PairedTest.of(np.array([1.0])).p)
    assert PairedTest.of(np.array([1.0, 1.0])) == PairedTest(0.0, 0.0)
    assert PairedTest.of(np.array([0.0, 0.0])).p == 1.0
    assert PairedTest.of(np.array([0.0, 0.0]), margin=1.0) == PairedTest(0.0, 1.0)
    assert PairedTest.of(np.array([2.0, 2.0]), margin=1.0) == PairedTest(1.0, 0.0)
