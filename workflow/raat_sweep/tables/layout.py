"""Tables laid out as Table 1 of the paper, in plain text; gaps stay visible, with their reasons."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from raat_core.specs.threat_model import NORM_SYMBOLS
from raat_sweep.numbers.accuracies import GROUP, ROW, Values, summarise
from raat_sweep.numbers.flags import FLAGGED
from raat_sweep.numbers.formatting import GAP, listed, records, rounded, signed
from raat_sweep.numbers.gaps import Footnotes, Note, notes_on_gaps
from raat_sweep.numbers.improvement import improvement

CITED = "†"
"""Behind the name of a method whose numbers were not measured here."""


@dataclass(frozen=True)
class Entry:
    """What stands in one place: a number, or a mark; `tail` follows it and is never bold."""

    text: str
    tail: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Group:
    """The rows of one data set and threat model: (method, entries)."""

    title: tuple[str, ...]
    rows: list[tuple[str, list[Entry]]]


@dataclass(frozen=True)
class Layout:
    """A table in plain text, before Markdown or LaTeX; entries run over architecture, metric."""

    caption: str
    architectures: list[str]
    metrics: list[str]
    groups: list[Group]
    notes: list[Note]
    """On gaps."""
    footnotes: Footnotes = ()
    """On numbers that there are."""


def lay_out(
    measurements: pd.DataFrame,
    titles: Mapping[str, str],
    title: str,
    ours: Sequence[str],
    protocol: str = "",
    cited: pd.DataFrame | None = None,
    footnotes: Footnotes = (),
    flagged: Collection[str] = (),
) -> Layout:
    """A table laid out as Table 1 of the paper.

    Args:
        measurements: what `measure` made of `PlannedItem.rows`.
        titles: column titles by metric.
        title: the caption's first sentence.
        ours: labels of the methods that a last row per data set compares with the others.
        protocol: a sentence of the caption on what was measured.
        cited: published numbers, from `summarise_cited`; they stand first in their group.
        footnotes: what is to be known of its numbers, beside gaps.
        flagged: names of cells with suspicious numbers, whose rows are marked.

    Raises:
        UserError: as `summarise`.
    """
    summary = summarise(measurements, list(titles))
    marked = flagged_rows(measurements, flagged)
    gains = improvement(summary, list(titles), ours) if ours else None
    architectures = list(dict.fromkeys(summary["architecture"]))
    columns = [(architecture, metric) for architecture in architectures for metric in titles]
    several_threats = len(summary[["norm", "epsilon"]].drop_duplicates()) > 1
    others = pd.DataFrame(columns=GROUP) if cited is None or cited.empty else cited
    groups = []
    for (dataset, norm, epsilon), chosen in summary.groupby(GROUP, sort=False):
        published = others[(others[GROUP] == [dataset, norm, epsilon]).all(axis="columns")]
        best = _best(pd.concat([published, chosen]) if len(published) else chosen, columns)
        rows = _cited_rows(published, columns, best)
        rows += _method_rows(chosen, columns, summary, best, marked)
        if gains is not None:
            own = gains[(gains[GROUP] == [dataset, norm, epsilon]).all(axis="columns")]
            rows.append(("↑ (%)", _gain_entries(own, columns)))
        threat = (_threat(str(norm), str(epsilon)),) if several_threats else ()
        groups.append(Group((str(dataset), *threat), rows))
    return Layout(
        caption=_caption(summary, titles, title, ours, protocol, others),
        architectures=architectures,
        metrics=list(titles.values()),
        groups=groups,
        notes=notes_on_gaps(measurements, titles),
        footnotes=footnotes,
    )


Best = dict[tuple[str, str], str]
"""The highest mean of each architecture and metric, as printed: equal numbers are bold together."""


def _best(group: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> Best:
    return {
        (str(architecture), metric): rounded(rows[f"{metric}_mean"].max())
        for architecture, rows in group.groupby("architecture", sort=False)
        for _, metric in columns
    }


def _cited_rows(
    group: pd.DataFrame, columns: Sequence[tuple[str, str]], best: Best
) -> list[tuple[str, list[Entry]]]:
    """A row per published method, marked, with its source."""
    if group.empty:
        return []
    result = []
    for (method, source), rows in group.groupby(["method", "source"], sort=False):
        here = {record["architecture"]: record for record in records(rows)}
        entries = [
            _cited_entry(here[architecture], metric, best[architecture, metric])
            if architecture in here
            else Entry("")
            for architecture, metric in columns
        ]
        result.append((f"{method}{CITED} ({source})", entries))
    return result


def _cited_entry(record: Values, metric: str, best: str) -> Entry:
    if math.isnan(record[f"{metric}_mean"]):
        return Entry("")
    return _mean_entry(record, metric, best)


def flagged_rows(measurements: pd.DataFrame, flagged: Collection[str]) -> set[tuple[str, ...]]:
    """Of which rows (columns `ROW`) some cell is among those named."""
    chosen = measurements[measurements["cell"].isin(list(flagged))]
    return set(chosen[ROW].itertuples(index=False, name=None))


def _method_rows(
    group: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    summary: pd.DataFrame,
    best: Best,
    marked: Collection[tuple[str, ...]],
) -> list[tuple[str, list[Entry]]]:
    metrics = list(dict.fromkeys(metric for _, metric in columns))
    result = []
    for _, rows in group.groupby(["method", "variant"], sort=False):
        here = {record["architecture"]: record for record in records(rows)}
        counts = {record[f"{metric}_seeds"] for record in here.values() for metric in metrics}
        entries = [
            _entry(here.get(architecture), metric, best.get((architecture, metric)), max(counts))
            for architecture, metric in columns
        ]
        is_marked = any(tuple(row[key] for key in ROW) in marked for row in here.values())
        mark = FLAGGED if is_marked else ""
        result.append((_method_title(list(here.values()), counts, summary, mark), entries))
    return result


def _entry(record: Values | None, metric: str, best: str | None, row_seeds: int) -> Entry:
    """A mean with its deviation, and its number of seeds where the row has numbers of more."""
    if record is None:
        # Not a gap: the config does not ask for this method on this architecture.
        return Entry("")
    seeds = record[f"{metric}_seeds"]
    if seeds == 0:
        return Entry(GAP)
    return _mean_entry(record, metric, best, f" (n = {seeds})" if seeds < row_seeds else "")


def _mean_entry(record: Values, metric: str, best: str | None, remark: str = "") -> Entry:
    mean, std = rounded(record[f"{metric}_mean"]), record[f"{metric}_std"]
    spread = "" if math.isnan(std) else f" ± {std:.2f}"
    return Entry(mean, spread + remark, bold=mean == best)


def _gain_entries(gains: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> list[Entry]:
    by_architecture = {record["architecture"]: record for record in records(gains)}
    return [
        Entry(_percent(by_architecture[architecture][metric]))
        if architecture in by_architecture
        else Entry("")
        for architecture, metric in columns
    ]


def _method_title(records: list[Values], counts: set[int], summary: pd.DataFrame, mark: str) -> str:
    """The method and its mark; variant and number of seeds where they are not those elsewhere.

    Seeds are those behind the numbers that stand in the row: a gap speaks for itself.
    """
    method, variant = records[0]["method"], records[0]["variant"]
    other_variants = set(summary[summary["method"] == method]["variant"]) - {variant}
    parts = [method + mark]
    if variant and (variant != "paper" or other_variants):  # Given weights have none.
        parts.append(f"({variant})")
    planned = {record["n_seeds_planned"] for record in records}
    measured = counts - {0} or {0}
    if measured != planned:
        parts.append(f"(n = {_span(measured)} of {_span(planned)})")
    elif summary["n_seeds_planned"].nunique() > 1:
        parts.append(f"(n = {_span(planned)})")
    return " ".join(parts)


def _caption(
    summary: pd.DataFrame,
    titles: Mapping[str, str],
    title: str,
    ours: Sequence[str],
    protocol: str,
    cited: pd.DataFrame,
) -> str:
    threats = summary[["norm", "epsilon"]].drop_duplicates().to_numpy().tolist()
    sentences = [
        title.rstrip("."),
        _seeds_sentence(set(summary["n_seeds_planned"])),
        *([f"Threat model: {_threat(*threats[0])}"] if len(threats) == 1 else []),
        *([protocol] if protocol else []),
        *_samples_sentences(summary, titles),
        "Bold: best mean of a column in each block of rows",
    ]
    if ours:
        sentences.append(
            f"↑ (%): the best of {listed(ours)} relative to the best of the others, on the "
            f"same images"
        )
    if len(cited):
        paths = listed(dict.fromkeys(cited["path"]))
        sentences.append(f"{CITED} as published ({paths}), not measured here")
    return ". ".join(sentences) + "."


def _seeds_sentence(planned: set[int]) -> str:
    if planned == {1}:
        return "Accuracy in % of n = 1 seed, without standard deviation"
    where = " as each row says" if len(planned) > 1 else ""
    return f"Accuracy in %, mean ± sample standard deviation over n = {_span(planned)} seeds{where}"


def _samples_sentences(summary: pd.DataFrame, titles: Mapping[str, str]) -> list[str]:
    """How many test images were attacked; data sets are named where they differ."""
    by_dataset = {
        str(dataset): _samples_sentence(rows, titles)
        for dataset, rows in summary.groupby("dataset", sort=False)
        if rows["n_test"].notna().any()
    }
    if len(set(by_dataset.values())) == 1:
        return list(by_dataset.values())[:1]
    return [f"{dataset}: {sentence}" for dataset, sentence in by_dataset.items()]


def _samples_sentence(rows: pd.DataFrame, titles: Mapping[str, str]) -> str:
    total = rows["n_test"].max()
    sizes = {title: rows[f"{metric}_n"].max() for metric, title in titles.items()}
    parts = [f"{title} on {n}" for title, n in sizes.items() if pd.notna(n) and n < total]
    if not parts:
        return f"{total} test images"
    return f"{listed(parts)} of {total} test images, other columns on {total}"


def _threat(norm: str, epsilon: str) -> str:
    return f"{NORM_SYMBOLS.get(norm, norm)}, ε = {epsilon}"


def _percent(value: float) -> str:
    return GAP if math.isnan(value) else f"{signed(value)}%"


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
