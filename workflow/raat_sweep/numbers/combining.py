"""From which images withstood which attacks to one number: an accuracy, Mean, NRR, worst case."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Correct: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""Whether images are right; of corruptions, the share of each image's versions that is."""
Scores: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def combine(kind: str, accuracies: Sequence[float]) -> float:
    """Their mean or harmonic mean; of two, the latter is the NRR of the paper's Section 5.3."""
    if kind == "mean":
        return statistics.fmean(accuracies)
    return statistics.harmonic_mean(accuracies)


def follows_from_means(kind: str) -> bool:
    """Whether a derived number can be computed from accuracies alone."""
    return kind not in ("worst", "median-distance")


def accuracy_of(kind: str, correct: Correct) -> float:
    """Percent, by kind: `mean` or `harmonic-mean` of the attacks' accuracies, or `worst`.

    The worst case is the share of images that withstand every attack. NaN without images.

    Args:
        kind: of a derived number; of one attack any gives its accuracy.
        correct: (P, N) by attack and image.
    """
    if not correct.shape[1]:
        return math.nan
    if kind == "worst":
        return 100.0 * float(correct.all(axis=0).mean())
    return combine(kind, [100.0 * float(each.mean()) for each in correct])


def scores_of(kind: str, correct: Correct) -> Scores:
    """(N,) percent per image whose mean is `accuracy_of`; empty for kinds that are no such mean."""
    if kind == "harmonic-mean" and len(correct) > 1:
        return np.empty(0)
    right = correct.all(axis=0, keepdims=True) if kind == "worst" else correct
    scores: Scores = 100.0 * right.astype(np.float64).mean(axis=0)
    return scores
