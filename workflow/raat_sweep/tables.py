"""Tables laid out as Table 1 of the paper, as CSV, Markdown and LaTeX; gaps stay visible."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raat_core.errors import UserError
from raat_core.spec import NORM_SYMBOLS
from raat_core.storage import write_text
from raat_sweep.formats import GAP, PLACE, markdown_text, records, rounded, signed, to_csv
from raat_sweep.measurements import combine

GROUP = ["dataset", "norm", "epsilon"]
ROW = ["dataset", "architecture", "norm", "epsilon", "method", "variant"]
CITED = "†"
"""Behind the name of a method whose numbers were not measured here."""
LONGEST_WHY = 140
"""Characters of a failure's reason below a table."""
Values = dict[str, Any]


def write_table(measurements: pd.DataFrame, item: Mapping[str, Any], results: Path) -> None:
    """Write `NAME.csv`, `NAME.md`, `NAME.tex` and `NAME.cells.csv`; equal input gives equal bytes.

    Args:
        measurements: what `measure` made of `Plan.rows_of`.
        item: `name`, `title`, `metrics` (metric: column title), `ours` (labels of methods),
            `checkpoint`, `selection` (`steps`, `split`), `derived` (`kind` and `of` by metric), and
            `cited`: None, or `path` and `rows` of published numbers.
        results: the folder that the files are written to.

    Raises:
        UserError: test images differ, or a file cannot be written.
    """
    titles, name = item["metrics"], item["name"]
    cited = summarise_cited(item["cited"], list(titles), item["derived"])
    layout = lay_out(measurements, titles, item["title"], item["ours"], _protocol(item), cited)
    summary = summarise(measurements, list(titles))
    if len(cited):
        measured = summary.assign(source="measured")
        summary = pd.concat([cited.drop(columns="path"), measured])[measured.columns]
    write_text(results / f"{name}.cells.csv", to_csv(measurements))
    write_text(results / f"{name}.csv", to_csv(summary))
    write_text(results / f"{name}.tex", to_latex(layout, f"tab:{name}"))
    write_text(results / f"{name}.md", to_markdown(layout))


def _protocol(item: Mapping[str, Any]) -> str:
    """Which checkpoint is reported, and how it was chosen."""
    if item["checkpoint"] == "last":
        return "Last checkpoint"
    selection = item["selection"]
    return f"Best checkpoint by PGD-{selection['steps']} on the {selection['split']} split"


def summarise(measurements: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row per data set, architecture, threat model, method and variant, as they first appear.

    For each metric, over the seeds that have a value: `<metric>_mean` and `<metric>_std` (sample
    standard deviation) in percent, `<metric>_n` test images, `<metric>_seeds`. What cannot be
    computed is missing: all of it without a value, the standard deviation with one seed.
    `n_seeds` is the smallest `<metric>_seeds`, `n_seeds_planned` what the config asks for, and
    `n_test` the test images of the metric that has most.

    Raises:
        UserError: one metric was measured on different numbers of test images of one data set, so
            that its numbers do not compare.
    """
    _require_equal_samples(measurements)
    summary = pd.DataFrame(
        [
            {**dict(zip(ROW, key, strict=True)), **_statistics(cells_of_row, metrics)}
            for key, cells_of_row in measurements.groupby(ROW, sort=False)
        ]
    )
    sizes = ["n_test", *(f"{metric}_n" for metric in metrics)]
    return summary.astype(dict.fromkeys(sizes, "Int64"))


def summarise_cited(
    cited: Mapping[str, Any] | None, metrics: Sequence[str], derived: Mapping[str, Any]
) -> pd.DataFrame:
    """Published numbers as rows like `summarise`'s, with their `source` and the `path` they are in.

    What is derived is computed from the published means; it has no standard deviation.

    Args:
        cited: None, or `path` and `rows` (from `Plan.published_rows`).
        metrics: the columns.
        derived: `kind` and `of` by metric.
    """
    rows = cited["rows"] if cited else []
    by_method: dict[tuple[str, ...], list[Values]] = {}
    for row in rows:
        place = tuple(row[column] for column in (*GROUP, "architecture", "method", "source"))
        by_method.setdefault(place, []).append(row)
    summary = [
        {
            **dict(zip((*GROUP, "architecture", "method", "source"), place, strict=True)),
            **_cited_statistics(some, metrics, derived),
            "path": cited["path"] if cited else "",
        }
        for place, some in by_method.items()
    ]
    return pd.DataFrame(summary)


def _cited_statistics(
    rows: Sequence[Values], metrics: Sequence[str], derived: Mapping[str, Any]
) -> Values:
    means = {row["metric"]: row["mean"] for row in rows}
    deviations = {row["metric"]: row["std"] for row in rows}
    for metric, entry in derived.items():
        if set(entry["of"]) <= set(means):
            means[metric] = combine(entry["kind"], [means[part] for part in entry["of"]])
    statistics: Values = {}
    for metric in metrics:
        statistics[f"{metric}_mean"] = means.get(metric, math.nan)
        statistics[f"{metric}_std"] = deviations.get(metric, math.nan)
    return statistics


def improvement(summary: pd.DataFrame, metrics: Sequence[str], ours: Sequence[str]) -> pd.DataFrame:
    """The best of our methods over the best of the others: 100 (a - b) / b, columns `metrics`.

    One row per data set, architecture, norm and epsilon. The means are not rounded before; the
    best is taken among the methods that have a value, and without one on either side the entry
    is NaN.

    Args:
        summary: from `summarise`.
        metrics: the columns.
        ours: methods' labels, which also stand for the settings varied under them.
    """
    means = [f"{metric}_mean" for metric in metrics]
    rows = []
    for key, group in summary.groupby(PLACE, sort=False):
        own = [m for m in group["method"] if any(_has_label(m, label) for label in ours)]
        is_ours = group["method"].isin(own)
        best, rival = group.loc[is_ours, means].max(), group.loc[~is_ours, means].max()
        gains = {m: _gain(best[f"{m}_mean"], rival[f"{m}_mean"]) for m in metrics}
        rows.append({**dict(zip(PLACE, key, strict=True)), **gains})
    return pd.DataFrame(rows)


def _gain(ours: float, others: float) -> float:
    """Percent; NaN where one is NaN, and over zero accuracy, where it has no meaning."""
    return 100 * (ours - others) / others if others > 0 else math.nan


def _require_equal_samples(cells: pd.DataFrame) -> None:
    measured = cells[cells["accuracy"].notna()]
    for (dataset, metric), group in measured.groupby(["dataset", "metric"], sort=False):
        sizes = sorted(set(group["samples"]))
        if len(sizes) > 1:
            examples = [group[group["samples"] == size]["cell"].iloc[0] for size in sizes[:2]]
            raise UserError(
                f"{metric} on {dataset} was measured on {_join(sizes)} test images "
                f"({_join(examples)}): these accuracies do not compare"
            )


def _statistics(cells: pd.DataFrame, metrics: Sequence[str]) -> Values:
    statistics: Values = {}
    measured = cells[cells["accuracy"].notna()]
    for metric in metrics:
        chosen = measured[measured["metric"] == metric]
        statistics[f"{metric}_mean"] = chosen["accuracy"].mean()
        statistics[f"{metric}_std"] = chosen["accuracy"].std(ddof=1)
        statistics[f"{metric}_n"] = int(chosen["samples"].max()) if len(chosen) else pd.NA
        statistics[f"{metric}_seeds"] = len(chosen)
    return {
        **statistics,
        "n_seeds": min(statistics[f"{metric}_seeds"] for metric in metrics),
        "n_seeds_planned": cells["seed"].nunique(),
        "n_test": int(measured["samples"].max()) if len(measured) else pd.NA,
    }


def _has_label(method: str, label: str) -> bool:
    """Whether `method` is `label`, or `label (setting = value, ...)` as `Point.row` writes it."""
    return re.fullmatch(rf"{re.escape(label)}( \([\w-]+ = .*\))?", method) is not None


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
class Note:
    """A reason for gaps, and the cells that have it: (name, detail, path of the log or empty)."""

    reason: str
    cells: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Layout:
    """A table in plain text, before Markdown or LaTeX; entries run over architecture, metric."""

    caption: str
    architectures: list[str]
    metrics: list[str]
    groups: list[Group]
    notes: list[Note]


def lay_out(
    measurements: pd.DataFrame,
    titles: Mapping[str, str],
    title: str,
    ours: Sequence[str],
    protocol: str = "",
    cited: pd.DataFrame | None = None,
) -> Layout:
    """A table laid out as Table 1 of the paper.

    Args:
        measurements: what `measure` made of `Plan.rows_of`.
        titles: column titles by metric.
        title: the caption's first sentence.
        ours: labels of the methods that a last row per data set compares with the others.
        protocol: a sentence of the caption on what was measured.
        cited: published numbers, from `summarise_cited`; they stand first in their group.

    Raises:
        UserError: as `summarise`.
    """
    summary = summarise(measurements, list(titles))
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
        rows += _method_rows(chosen, columns, summary, best)
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
    mean, std = record[f"{metric}_mean"], record[f"{metric}_std"]
    if math.isnan(mean):
        return Entry("")
    tail = "" if math.isnan(std) else f" ± {std:.2f}"
    return Entry(rounded(mean), tail, bold=rounded(mean) == best)


def _method_rows(
    group: pd.DataFrame, columns: Sequence[tuple[str, str]], summary: pd.DataFrame, best: Best
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
        result.append((_method_title(list(here.values()), counts, summary), entries))
    return result


def _entry(record: Values | None, metric: str, best: str | None, row_seeds: int) -> Entry:
    """A mean with its deviation, and its number of seeds where the row has numbers of more."""
    if record is None:
        # Not a gap: the config does not ask for this method on this architecture.
        return Entry("")
    mean, std, seeds = (record[f"{metric}_{what}"] for what in ("mean", "std", "seeds"))
    if seeds == 0:
        return Entry(GAP)
    tail = "" if math.isnan(std) else f" ± {std:.2f}"
    if seeds < row_seeds:
        tail += f" (n = {seeds})"
    return Entry(rounded(mean), tail, bold=rounded(mean) == best)


def _gain_entries(gains: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> list[Entry]:
    by_architecture = {record["architecture"]: record for record in records(gains)}
    return [
        Entry(_percent(by_architecture[architecture][metric]))
        if architecture in by_architecture
        else Entry("")
        for architecture, metric in columns
    ]


def _method_title(records: list[Values], counts: set[int], summary: pd.DataFrame) -> str:
    """The method, with its variant and number of seeds where these are not what they are elsewhere.

    Seeds are those behind the numbers that stand in the row: a gap speaks for itself.
    """
    method, variant = records[0]["method"], records[0]["variant"]
    other_variants = set(summary[summary["method"] == method]["variant"]) - {variant}
    parts = [method]
    if variant != "paper" or other_variants:
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
        sentences.append(f"↑ (%): the best of {_join(ours)} relative to the best of the others")
    if len(cited):
        paths = _join(dict.fromkeys(cited["path"]))
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
    return f"{_join(parts)} of {total} test images, other columns on {total}"


def notes_on_gaps(measurements: pd.DataFrame, titles: Mapping[str, str]) -> list[Note]:
    """The reasons why numbers are missing, each with its cells."""
    gaps = measurements[measurements["accuracy"].isna()]
    notes = []
    for reason, rows in gaps.groupby("gap", sort=False):
        cells = []
        for cell, of_cell in rows.groupby("cell", sort=False):
            metrics = set(of_cell["metric"])
            missing = [title for metric, title in titles.items() if metric in metrics]
            every = len(missing) == len(titles)
            detail = "" if every else f" ({', '.join(missing)})"
            cells.append((str(cell), detail, str(of_cell["log"].iloc[0])))
        notes.append(Note(_short(str(reason)), cells))
    return notes


def _short(reason: str) -> str:
    """`not trained`, or `not trained (why)` where a log says why; the whole is in `.cells.csv`."""
    what, _, why = reason.partition(": ")
    if len(why) > LONGEST_WHY:
        why = f"{why[: LONGEST_WHY - 2].rstrip()} …"
    return f"{what} ({why})" if why else what


GAPS_SENTENCE = f"{GAP} no value; best and ↑ are among the values that there are. Gaps:"


def to_markdown(layout: Layout) -> str:
    """The table in GitHub's Markdown: caption, table, gaps with their reasons."""
    columns = [
        f"{architecture}: {metric}"
        for architecture in layout.architectures
        for metric in layout.metrics
    ]
    lines = [
        markdown_text(layout.caption),
        "",
        _markdown_row(map(markdown_text, ["Data set", "Method", *columns])),
        _markdown_row([":--", ":--", *["--:"] * len(columns)]),
    ]
    for group in layout.groups:
        title = group.title[0] + "".join(f" ({line})" for line in group.title[1:])
        for index, (method, entries) in enumerate(group.rows):
            start = [markdown_text(title) if index == 0 else "", markdown_text(method)]
            lines.append(_markdown_row([*start, *map(_markdown_entry, entries)]))
    if layout.notes:
        lines += ["", GAPS_SENTENCE, ""]
    for note in layout.notes:
        cells = ", ".join(
            f"`{cell}`{markdown_text(detail)}" + (f", log `{log}`" if log else "")
            for cell, detail, log in note.cells
        )
        lines.append(f"- {markdown_text(note.reason)}: {cells}")
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_entry(entry: Entry) -> str:
    text = markdown_text(entry.text)
    return (f"**{text}**" if entry.bold else text) + markdown_text(entry.tail)


def to_latex(layout: Layout, label: str) -> str:
    """The table as a `table` environment; its first line says which packages it needs."""
    width = len(layout.metrics)
    spans = [f"\\multicolumn{{{width}}}{{c}}{{{_latex(name)}}}" for name in layout.architectures]
    starts = [3 + width * index for index in range(len(layout.architectures))]
    rules = "".join(f"\\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts)
    titles = [_latex(metric) for metric in layout.metrics] * len(layout.architectures)
    lines = [
        r"% Needs \usepackage{booktabs, graphicx, multirow}.",
        r"\begin{table}[tbp]",
        r"  \centering",
        f"  \\caption{{{_latex(layout.caption)}}}",
        f"  \\label{{{label}}}",
        # Shrinks a wide table to the line, but does not stretch a narrow one.
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"  \\begin{{tabular}}{{ll*{{{len(titles)}}}{{c}}}}",
        r"    \toprule",
        _latex_row([r"\multirow{2}{*}{Data set}", r"\multirow{2}{*}{Method}", *spans]),
        f"    {rules}",
        _latex_row(["", "", *titles]),
    ]
    for group in layout.groups:
        lines.append(r"    \midrule")
        lines_of_title = r" \\ ".join(map(_latex, group.title))
        title = f"\\shortstack[l]{{{lines_of_title}}}"
        for index, (method, entries) in enumerate(group.rows):
            head = f"\\multirow{{{len(group.rows)}}}{{*}}{{{title}}}"
            cells = [head if index == 0 else "", _latex(method), *map(_latex_entry, entries)]
            lines.append(_latex_row(cells))
    lines += [r"    \bottomrule", r"  \end{tabular}}"]
    if layout.notes:
        lines += [r"  \par\smallskip", r"  \parbox{\linewidth}{\footnotesize\raggedright"]
        lines.append(f"    {_latex(GAPS_SENTENCE)}")
        lines += [f"    {_latex_note(note)}." for note in layout.notes]
        lines.append("  }")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_row(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells).lstrip()} \\\\"


def _latex_entry(entry: Entry) -> str:
    text = _latex(entry.text)
    return (f"\\textbf{{{text}}}" if entry.bold else text) + _latex(entry.tail)


def _latex_note(note: Note) -> str:
    cells = ", ".join(
        f"{_latex_name(cell)}{_latex(detail)}" + (f", log {_latex_name(log)}" if log else "")
        for cell, detail, log in note.cells
    )
    # What a log says may hold characters that LaTeX's fonts do not.
    reason = re.sub(r"[^\x00-\x7f]", "?", _latex(note.reason))
    return f"{reason}: {cells}"


def _latex_name(name: str) -> str:
    """A file's name, with places to break the line at."""
    breakable = re.sub(r"(\\_|[-/])", r"\1\\allowbreak{}", _latex(name))
    return f"\\texttt{{{breakable}}}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "ℓ∞": r"$\ell_\infty$",
    "ℓ₂": r"$\ell_2$",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "↑": r"$\uparrow$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "…": r"\dots{}",
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "λ": r"$\lambda$",
    "β": r"$\beta$",
    "τ": r"$\tau$",
}
_LATEX_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))


def _latex(text: str) -> str:
    return _LATEX_SPECIAL.sub(lambda match: _LATEX[match.group()], text)


def _threat(norm: str, epsilon: str) -> str:
    return f"{NORM_SYMBOLS.get(norm, norm)}, ε = {epsilon}"


def _percent(value: float) -> str:
    return GAP if math.isnan(value) else f"{signed(value)}%"


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _join(words: Iterable[object]) -> str:
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last
