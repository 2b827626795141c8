"""Paired t-tests, two-sided and for equality within a margin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class PairedTest:
    """A paired t-test; both p are NaN for fewer than two pairs."""

    p: float
    """Without a margin two-sided for a mean of zero; with one, that of the two one-sided tests
    (TOST) for a mean within ±margin: small where the difference is shown to be smaller."""
    p_against: float
    """Small where the claim is shown to be wrong, if the difference says so: `p` without a margin;
    with one, of the one-sided test for a mean beyond it."""

    @classmethod
    def of(cls, differences: Values, margin: float = 0.0) -> PairedTest:
        """Of one difference per pair."""
        if len(differences) < 2:
            return cls(math.nan, math.nan)
        mean, error = float(differences.mean()), float(stats.sem(differences))
        freedom = len(differences) - 1
        if margin:
            within = max(_tail(margin + side * mean, error, freedom) for side in (-1, 1))
            return cls(within, _tail(abs(mean) - margin, error, freedom))
        two_sided = 2 * _tail(abs(mean), error, freedom)
        return cls(two_sided, two_sided)


def _tail(distance: float, error: float, freedom: int) -> float:
    """P(T > distance / error); without any spread, what that tends to."""
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(stats.t.sf(distance / error, freedom))
