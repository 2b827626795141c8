"""The files of accuracies by class: two CSV, and a page of what stands out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raat_core.files.atomic import write_text
from raat_sweep.numbers.accuracies import ROW
from raat_sweep.numbers.by_class import ByClass, Confusion
from raat_sweep.numbers.formatting import (
    GAP,
    in_place,
    listed,
    markdown_text,
    method_of,
    rounded,
    to_csv,
    with_spread,
)
from raat_sweep.numbers.gaps import Footnotes, in_words, notes_on_gaps
from raat_sweep.tables.files import with_titles

MOST_LISTED = 20
"""Classes whose accuracies stand on the page; the CSV has them all."""
MOST_CONFUSIONS = 5


def write_classes(
    measurements: pd.DataFrame,
    accuracies: Sequence[ByClass],
    confusions: Sequence[Confusion],
    item: Mapping[str, Any],
    results: Path,
    footnotes: Footnotes = (),
) -> None:
    """Write `NAME.csv`, `NAME.confusion.csv`, `NAME.cells.csv` and `NAME.md`.

    Equal input gives equal bytes.

    Args:
        measurements: what `measure` and `derive` made of `PlannedItem.rows`.
        accuracies: from `measure_classes`.
        confusions: from `measure_confusions`.
        item: `name`, `title`, `metrics` and `confusion` (title by metric), `checkpoint`.
        results: the folder that the files are written to.
        footnotes: what is to be known of its numbers, beside gaps.

    Raises:
        UserError: a file cannot be written.
    """
    name = item["name"]
    write_text(results / f"{name}.csv", to_csv(table_of(accuracies, list(item["metrics"]))))
    write_text(results / f"{name}.confusion.csv", to_csv(table_of_confusions(confusions)))
    write_text(results / f"{name}.cells.csv", to_csv(with_titles(measurements, item["metrics"])))
    page = _page(measurements, accuracies, confusions, item, footnotes)
    write_text(results / f"{name}.md", "\n".join(page) + "\n")


def table_of(accuracies: Sequence[ByClass], metrics: Sequence[str]) -> pd.DataFrame:
    """A line per row of the item and class, with the statistics of every metric.

    Columns `accuracies.ROW`, `class` (a number), `name`, and per metric `<metric>_mean` and `_std`
    (sample standard deviation over seeds) in percent, `_n` images of the class and `_seeds`.
    """
    lines = []
    for of_row in _by_row(accuracies, metrics):
        statistics = [(each, each.mean, each.std) for each in of_row]
        for number, name in enumerate(_best_names(of_row)):
            line = {**of_row[0].row, "class": number, "name": name}
            for each, mean, std in statistics:
                line[f"{each.metric}_mean"] = mean[number]
                line[f"{each.metric}_std"] = std[number]
                line[f"{each.metric}_n"] = int(each.counts[number])
                line[f"{each.metric}_seeds"] = len(each.values)
            lines.append(line)
    return pd.DataFrame(lines)


def _by_row(accuracies: Sequence[ByClass], metrics: Sequence[str]) -> Iterator[Sequence[ByClass]]:
    for start in range(0, len(accuracies), len(metrics)):
        yield accuracies[start : start + len(metrics)]


def _best_names(of_row: Iterable[ByClass]) -> tuple[str, ...]:
    """Those of the first metric that has a value: only its records say which images they are of."""
    several = list(of_row)
    return next((each.names for each in several if len(each.values)), several[0].names)


def table_of_confusions(confusions: Sequence[Confusion]) -> pd.DataFrame:
    """A line per row, attack, and pair of classes that was ever seen.

    `mean` is the share of the true class's images in percent, over seeds.
    """
    lines = []
    for each in confusions:
        mean = each.mean
        for true, predicted in np.argwhere(mean > 0).tolist():
            lines.append(
                {
                    **each.row,
                    "metric": each.metric,
                    "true": true,
                    "true_name": each.names[true],
                    "predicted": predicted,
                    "predicted_name": each.names[predicted],
                    "mean": mean[true, predicted],
                    "seeds": len(each.values),
                }
            )
    columns = [*ROW, "metric", "true", "true_name", "predicted", "predicted_name", "mean", "seeds"]
    return pd.DataFrame(lines, columns=columns)


def _page(
    measurements: pd.DataFrame,
    accuracies: Sequence[ByClass],
    confusions: Sequence[Confusion],
    item: Mapping[str, Any],
    footnotes: Footnotes,
) -> list[str]:
    titles = item["metrics"]
    lines = [markdown_text(_caption(accuracies, item)), ""]
    lines += _table(
        ["Where", "Method", "Metric", "n", "Images", "Lowest class", "Highest class"],
        (_extremes(each, titles[each.metric]) for each in accuracies),
    )
    lines += ["Most frequent confusions, percent of the true class's images:", ""]
    lines += _table(
        ["Where", "Method", "Attack", "n", "True → predicted"],
        (_frequent(each, item["confusion"][each.metric]) for each in confusions),
    )
    for of_row in _by_row(accuracies, list(titles)):
        if len(of_row[0].names) <= MOST_LISTED:
            row = of_row[0].row
            lines += [f"{markdown_text(f'{in_place(row)}, {method_of(row)}')}:", ""]
            lines += _table(["Class", *titles.values()], _listed(of_row))
    for reason, notes in (("Gaps:", notes_on_gaps(measurements, titles)), *footnotes):
        if notes:
            lines += [reason, "", *(f"- {markdown_text(in_words(note))}" for note in notes), ""]
    return lines[:-1]


def _caption(accuracies: Sequence[ByClass], item: Mapping[str, Any]) -> str:
    sizes: dict[int, list[str]] = {}
    for metric, title in item["metrics"].items():
        for size in {each.images for each in accuracies if each.metric == metric} - {0}:
            sizes.setdefault(size, []).append(title)
    images = "; ".join(f"{listed(some)} on {size}" for size, some in sizes.items())
    sentences = [
        item["title"].rstrip("."),
        "Accuracy in % by class, mean ± sample standard deviation over n seeds",
        f"{str(item['checkpoint']).capitalize()} checkpoint",
        *([f"Test images: {images}"] if images else []),
    ]
    return ". ".join(sentences) + "."


def _extremes(each: ByClass, title: str) -> list[str]:
    mean, std = each.mean, each.std
    if np.isnan(mean).all():
        ends = [GAP, GAP]
    else:
        ends = [
            f"{each.names[number]}: {with_spread(mean[number], std[number])}"
            for number in (int(np.nanargmin(mean)), int(np.nanargmax(mean)))
        ]
    return [
        in_place(each.row),
        method_of(each.row),
        title,
        str(len(each.values)),
        str(each.images or GAP),
        *ends,
    ]


def _frequent(each: Confusion, title: str) -> list[str]:
    mean = np.nan_to_num(each.mean)
    np.fill_diagonal(mean, 0.0)
    order = np.argsort(-mean, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(mean)) for place in order]
    seen = [
        f"{each.names[true]} → {each.names[predicted]} {rounded(mean[true, predicted])}"
        for true, predicted in pairs
        if mean[true, predicted] > 0
    ]
    return [
        in_place(each.row),
        method_of(each.row),
        title,
        str(len(each.values)),
        ", ".join(seen) or GAP,
    ]


def _listed(of_row: Sequence[ByClass]) -> Iterator[list[str]]:
    statistics = [(each.mean, each.std) for each in of_row]
    for number, name in enumerate(_best_names(of_row)):
        yield [name, *(with_spread(mean[number], std[number]) for mean, std in statistics)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    lines += [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
    return [*lines, ""]
