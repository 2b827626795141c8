"""Numbers that others have published, from a CSV that says where they come from."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.errors import UserError
from raat_core.validation import suggest
from raat_sweep.config.reading import find_file

COLUMNS = (
    "dataset", "architecture", "norm", "epsilon", "method", "source", "metric", "mean", "std",
)  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """Published accuracies: `rows` have `COLUMNS`, with numbers in percent, std NaN if not given.

    Names are those that tables print; an architecture is called what the paper calls it.
    """

    rows: tuple[Row, ...]

    @cached_property
    def _by_key(self) -> dict[tuple[str, ...], list[Row]]:
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            found.setdefault(_key(row), []).append(row)
        return found

    def of(self, row: Mapping[str, Any]) -> list[Row]:
        """The numbers of the cells of a `Point.row`, under its names."""
        own = {"architecture": row["architecture"], "variant": row["variant"]}
        return [{**published, **own} for published in self._by_key.get(_key(row), ())]

    def matching(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """How many of the numbers are of some `Point.row`s."""
        return sum(len(self._by_key.get(key, ())) for key in {_key(row) for row in rows})

    def about(self, rows: Iterable[Mapping[str, Any]]) -> list[Row]:
        """The numbers of any method where these `Point.row`s are: the same data and ball."""
        places: dict[tuple[str, ...], dict[str, None]] = {}
        for row in rows:
            places.setdefault(_place(row), {})[row["architecture"]] = None
        return [
            {**published, "architecture": architecture}
            for published in self.rows
            for architecture in places.get(_place(published), ())
        ]


class PublishedFiles:
    """The files of published numbers that a config names; each is read once."""

    def __init__(self) -> None:
        self._read: dict[str, Published] = {}

    def read(self, path: str, where: str) -> Published:
        """The numbers of a file.

        Raises:
            UserError: as `read_published`.
        """
        if path not in self._read:
            self._read[path] = read_published(find_file(path), where)
        return self._read[path]

    def with_metrics(self, path: str, where: str, titles: Mapping[str, str]) -> Published:
        """As `read`, with metrics that all have a title.

        Raises:
            UserError: as `read`, or a metric has none.
        """
        numbers = self.read(path, where)
        for metric in dict.fromkeys(row["metric"] for row in numbers.rows):
            if metric not in titles:
                raise UserError(f"{where} = '{path}': metric '{metric}'{suggest(metric, titles)}")
        return numbers


def _paper_title(title: str) -> str:
    """What the paper calls an architecture; another one's title is as it is."""
    known = (info.paper_title for info in ARCHITECTURES.values() if info.title == title)
    return next(known, "") or title


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    architecture = _paper_title(row["architecture"])
    return (str(row["dataset"]), architecture, str(row["norm"]), str(row["epsilon"]))


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (*_place(row), str(row["method"]))


def read_published(path: Path, where: str) -> Published:
    """Read a CSV with `COLUMNS`.

    Args:
        path: the file; relative paths start where the program runs.
        where: the key of the config that names it, for messages.

    Raises:
        UserError: the file is not there, has other columns, or a number is none or no percentage.
    """
    try:
        # Spreadsheets begin such files with a mark of the encoding.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, lines = reader.fieldnames, list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} = '{path}': cannot be read: {error}") from None
    if tuple(columns or ()) != COLUMNS:
        raise UserError(f"{where} = '{path}': its columns must be {','.join(COLUMNS)}")
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise UserError(f"{path}:{number}: must have {len(COLUMNS)} fields")
    rows = [
        {
            **line,
            "mean": _percent(line["mean"], f"{path}:{number}: mean"),
            "std": _percent(line["std"], f"{path}:{number}: std") if line["std"] else math.nan,
        }
        for number, line in enumerate(lines, start=2)
    ]
    for key, count in Counter((*_key(row), str(row["metric"])) for row in rows).items():
        if count > 1:
            raise UserError(f"{path}: {' '.join(key)} stands there {count} times")
    return Published(tuple(rows))


def _percent(text: str, where: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 100:
        raise UserError(f"{where} = {text!r}: must be a number from 0 to 100")
    return value
