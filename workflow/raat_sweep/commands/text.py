"""What a terminal shows: columns of text, spans of time, names of cells."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """A line per row, in columns; those numbered in `left` begin, the others end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def shorten(name: str, width: int) -> str:
    """A cell's name without its middle: it begins with what it is and ends with seed and digest."""
    if len(name) <= width:
        return name
    tail = min(len(name) - len(name.rsplit("_", 2)[0]) - 1, max(0, width - 8))
    return f"{name[: width - tail - 1]}…{name[-tail:]}"


def cut(line: str, width: int) -> str:
    """A line that fits."""
    return line if len(line) <= width else f"{line[: max(0, width - 1)]}…"


def hours(seconds: float) -> str:
    """`0.002`, `0.31`, `12.4`, `1250`."""
    value = seconds / 3600
    if value < 0.1:
        return f"{value:.3f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def span(seconds: float) -> str:
    """`12 s`, `6 min`, `3 h 05 min`, `2 d 3 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (24 * 60)} d {minutes % (24 * 60) // 60} h"
