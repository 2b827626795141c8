"""Numbers, rows and text as tables, comparisons and their files write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd

from raat_core.specs.threat_model import NORM_SYMBOLS

GAP = "–"
"""Where there is no value."""


def rounded(value: float) -> str:
    """To two decimals, halves up, as the paper's tables are; binary floats have no halves."""
    if math.isnan(value):
        return GAP
    exact = Decimal(f"{value:.6f}").quantize(Decimal("0.01"), ROUND_HALF_UP)
    return str(exact).replace("-", "−")


def signed(value: float) -> str:
    """As `rounded`, with a sign: a difference."""
    return f"+{rounded(value)}" if value >= 0 else rounded(value)


def with_spread(mean: float, std: float) -> str:
    """`83.69 ± 0.27`, or the mean alone where there is no standard deviation."""
    return rounded(mean) if math.isnan(std) else f"{rounded(mean)} ± {rounded(std)}"


def markdown_text(text: str) -> str:
    """Plain text in GitHub's Markdown, on one line."""
    return re.sub(r"([\\`*_|<\[\]])", r"\\\1", re.sub(r"\s*\n\s*", " ", text))


def in_place(row: Mapping[str, Any]) -> str:
    """Data set, architecture and ball of a row: `Digits, ResNet-mini, ℓ∞ 8/255`."""
    ball = f"{NORM_SYMBOLS.get(row['norm'], row['norm'])} {row['epsilon']}"
    return f"{row['dataset']}, {row['architecture']}, {ball}"


def method_of(row: Mapping[str, Any]) -> str:
    """The method of a row, with its variant if that is not the paper's."""
    variant = f" ({row['variant']})" if row["variant"] not in ("", "paper") else ""
    return f"{row['method']}{variant}"


def listed(words: Iterable[object]) -> str:
    """`one, two and three`; of at least one."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings from column to value."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def to_csv(frame: pd.DataFrame, digits: str = ".4f") -> str:
    """CSV without an index; equal frames give equal bytes."""
    return frame.to_csv(index=False, float_format=f"%{digits}", lineterminator="\n")
