"""`python -m raat_sweep trace`: where a number of a table comes from."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raat_core.cells.folder import CellFolder
from raat_core.commands.show_record import describe_record
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.evaluation.suspicion import suspicions
from raat_core.files.checksums import read_json
from raat_sweep.numbers.formatting import in_place, method_of, rounded
from raat_sweep.numbers.outcomes import BETWEEN_RECORDS, Records

ROW = ("dataset", "architecture", "norm", "epsilon", "method", "variant")
"""Columns of `<table>.cells.csv` that a row of the table has."""
GIVEN = "given"
"""The method of cells that were trained elsewhere."""
SAME_NUMBER = 1e-3
"""Percentage points; tables have four decimals."""
Number = dict[str, str]
"""A line of `<table>.cells.csv`."""


def trace(table: Path, row: Sequence[str], column: str | None, seed: int | None = None) -> str:
    """What the number in a row and column of a table was made of, seed by seed.

    Args:
        table: one of its files.
        row: words that single out a row: the method's label, and if that is not enough, data set,
            architecture, norm, epsilon, variant.
        column: the title of the column, or the name of its metric.
        seed: this one alone.

    Raises:
        UserError: the table was not made, or has no such row, column or seed: says what there is.
    """
    name = table.name.split(".", 1)[0]
    numbers = _read(table.with_name(f"{name}.cells.csv"), table)
    of_row = _row(numbers, row)
    chosen = _column(of_row, column)
    if seed is not None:
        seeds = [number["seed"] for number in chosen]
        chosen = [number for number in chosen if number["seed"] == str(seed)]
        if not chosen:
            raise UserError(f"--seed = {seed}: allowed: {', '.join(seeds)}")
    cells = table.parent / "cells"
    lines = [_headline(chosen), *_unlike(numbers, chosen[0], cells)]
    for number in chosen:
        lines += ["", *_seed(number, cells)]
    return "\n".join(lines)


def _read(path: Path, table: Path) -> list[Number]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{table}: cannot read {path}: {reason}; give one of the files of a table or of "
            f"classes that was made"
        ) from None
    needed = {*ROW, "metric", "seed", "cell", "record", "accuracy", "samples", "gap"}
    if not found or not needed <= set(found[0]):
        raise UserError(f"{path}: holds no numbers of a table")
    return found


def _key(number: Number) -> tuple[str, ...]:
    return tuple(number[column] for column in ROW)


def _names(number: Number) -> set[str]:
    """By which a row may be called, in lower case."""
    method = f"{number['method']} ({number['variant']})"
    return {text.lower() for text in (*_key(number), method)}


def _row(numbers: Sequence[Number], words: Sequence[str]) -> list[Number]:
    """The numbers of the one row that has all words."""
    rows = {_key(number): number for number in numbers}
    wanted = {word.lower() for word in words}
    found = [key for key, number in rows.items() if wanted <= _names(number)]
    if len(found) == 1:
        return [number for number in numbers if _key(number) == found[0]]
    shown = found or list(rows)
    there = "; ".join(f"{method_of(rows[key])}, {in_place(rows[key])}" for key in shown)
    given = " ".join(words) or "nothing"
    problem = f"{len(found)} rows have that, add to it" if found else "no row has that"
    raise UserError(f"--row = {given}: {problem}; there are: {there}")


def _folded(text: str) -> str:
    """Without what is easily mistyped: `PGD-10` and `pgd10` are the same."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _column(of_row: Sequence[Number], column: str | None) -> list[Number]:
    """The numbers of a row in a column, by the column's title or its metric's name."""
    titles = {number["metric"]: number.get("title") or number["metric"] for number in of_row}
    if column is not None:
        for same in (str, _folded):
            for metric, title in titles.items():
                if same(column) in (same(metric), same(title)):
                    return [number for number in of_row if number["metric"] == metric]
    given = "nothing" if column is None else f"'{column}'"
    there = ", ".join(
        metric if metric == title else f"{title} ({metric})" for metric, title in titles.items()
    )
    raise UserError(f"--column = {given}: the row has: {there}")


def _accuracies(chosen: Sequence[Number]) -> list[float]:
    return [float(number["accuracy"]) for number in chosen if number["accuracy"]]


def _headline(chosen: Sequence[Number]) -> str:
    first, values = chosen[0], _accuracies(chosen)
    where = f"{method_of(first)}, {in_place(first)}, {first.get('title') or first['metric']}"
    if not values:
        return f"{where}: no value"
    spread = f" ± {rounded(statistics.stdev(values))}" if len(values) > 1 else ""
    images = max(int(number["samples"]) for number in chosen)
    seeds = f"n = {len(values)} seed{'s' if len(values) > 1 else ''}"
    return f"{where}: {rounded(statistics.fmean(values))}{spread} over {seeds}, {images} images"


def _unlike(numbers: Sequence[Number], traced: Number, cells: Path) -> Iterator[str]:
    """What the specs of other rows of the same place and seed have otherwise."""
    own = _spec(cells / traced["cell"])
    seen = {traced["cell"]}
    for number in numbers:
        alike = [number[key] == traced[key] for key in ("dataset", "architecture", "seed")]
        if number["cell"] in seen or not all(alike):
            continue
        seen.add(number["cell"])
        other = _spec(cells / number["cell"])
        keys = [key for key in dict.fromkeys([*own, *other]) if own.get(key) != other.get(key)]
        if "method.name" in keys:
            # Settings of two methods are no difference in one setting.
            keys = [key for key in keys if key == "method.name" or not key.startswith("method.")]
        if own and other and keys:
            said = (f"{key} {_said(own, key)}, not {_said(other, key)}" for key in keys)
            yield f"unlike {method_of(number)}: {'; '.join(said)}"


def _said(spec: Mapping[str, Any], key: str) -> str:
    return str(spec[key]) if key in spec else "what is not given"


def _spec(cell: Path) -> dict[str, Any]:
    """A cell's spec by path of keys; nothing of one that cannot be read. No plugin is needed."""
    try:
        return dict(_leaves(read_json(CellFolder(cell).spec), ""))
    except UserError:
        return {}


def _leaves(data: object, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(data, dict) or not data:
        yield where, data
        return
    for key, value in data.items():
        yield from _leaves(value, f"{where}.{key}" if where else key)


def _seed(number: Number, cells: Path) -> Iterator[str]:
    """The cell of one seed, and all records that its number is made of."""
    folder = CellFolder(cells / number["cell"])
    yield f"seed {number['seed']}: {_value(number)}"
    yield f"  cell: {folder.path}"
    for name in filter(None, number["record"].split(BETWEEN_RECORDS)):
        path = folder.record(name)
        if not path.exists():
            yield f"  {name}: is not there"
            continue
        for line in describe_record(path).splitlines():
            yield f"  {line}"
        if note := _otherwise(number, path):
            yield f"  {note}"
    yield from (f"  {line}" for line in _on_common_images(number, cells))
    yield from (f"  suspicious: {each}" for each in _suspicions(folder, number["record"]))
    spec = _spec(folder.path)
    if spec.get("method.name") == GIVEN:
        yield f"  trained elsewhere, its file of weights has the SHA-256 {spec['method.sha256']}"
    elif spec:
        yield f"  the cell again: python -m raat_core train {folder.spec} --folder ELSEWHERE"


def _on_common_images(number: Number, cells: Path) -> Iterator[str]:
    """The accuracies that a derived number is computed from."""
    names = number["record"].split(BETWEEN_RECORDS)
    if len(names) < 2 or not number["accuracy"]:
        return
    outcomes = Records(cells).outcomes(number["cell"], number["record"])
    parts = (
        f"{name} {100 * correct.mean():.2f}%"
        for name, correct in zip(names, outcomes.correct, strict=True)
    )
    yield f"on the {len(outcomes.index)} images that all of these have: {', '.join(parts)}"


def _suspicions(folder: CellFolder, names: str) -> list[str]:
    """What all records of the checkpoint say together, flags of single ones left out."""
    checkpoint = names.partition("_")[0]
    records = []
    for path in sorted((folder.path / "records").glob(f"{checkpoint}_*.safetensors")):
        try:
            records.append(Record.read(path))
        except UserError:  # Of another number than this one.
            continue
    flags = {flag for record in records for flag in record.metadata.get("flags", ())}
    found = suspicions(records)
    return [each for each in found if each.partition(": ")[2] not in flags]


def _value(number: Number) -> str:
    if number["gap"] or not number["accuracy"]:
        log = f" (log: {number['log']})" if number.get("log") else ""
        return f"no value: {number['gap']}{log}"
    several = BETWEEN_RECORDS in number["record"]
    of = "images that all of its records have" if several else "images"
    return f"{float(number['accuracy']):.2f}% on {number['samples']} {of}"


def _otherwise(number: Number, path: Path) -> str:
    """A record that was made again since the table was."""
    if BETWEEN_RECORDS in number["record"] or not number["accuracy"]:
        return ""
    now = Record.read(path).accuracy
    if math.isclose(now, float(number["accuracy"]), rel_tol=0, abs_tol=SAME_NUMBER):
        return ""
    return f"the record has another accuracy than the table: make the table again ({now:.2f}%)"
