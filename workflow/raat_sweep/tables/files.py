"""The files of a table: CSV, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from raat_core.files.atomic import write_text
from raat_sweep.numbers.accuracies import ROW, summarise
from raat_sweep.numbers.cited import summarise_cited
from raat_sweep.numbers.formatting import GAP, markdown_text, to_csv
from raat_sweep.numbers.gaps import Footnotes, Note
from raat_sweep.tables.layout import Entry, Layout, flagged_rows, lay_out


def write_table(
    measurements: pd.DataFrame,
    item: Mapping[str, Any],
    results: Path,
    footnotes: Footnotes = (),
    flagged: Collection[str] = (),
) -> None:
    """Write `NAME.csv`, `NAME.md`, `NAME.tex` and `NAME.cells.csv`; equal input gives equal bytes.

    Args:
        measurements: what `measure` made of `PlannedItem.rows`.
        item: `name`, `title`, `metrics` (metric: column title), `ours` (labels of methods),
            `checkpoint`, `selection` (`best`, a sentence), `derived` (`kind` and `of` by metric),
            `cited`: None, or `path` and `rows` of published numbers, and, where there is
            something to say, `balls` and `meanings`, a sentence each.
        results: the folder that the files are written to.
        footnotes: what is to be known of its numbers, beside gaps.
        flagged: names of cells with suspicious numbers, whose rows are marked.

    Raises:
        UserError: test images differ, or a file cannot be written.
    """
    titles, name = item["metrics"], item["name"]
    cited = summarise_cited(item["cited"], list(titles), item["derived"])
    layout = lay_out(
        measurements,
        titles,
        item["title"],
        item["ours"],
        _protocol(item),
        cited,
        footnotes,
        flagged,
    )
    summary = summarise(measurements, list(titles))
    marked = flagged_rows(measurements, flagged)
    summary = summary.assign(flagged=[tuple(row) in marked for row in summary[ROW].values])
    if len(cited):
        measured = summary.assign(source="measured")
        published = cited.drop(columns="path").assign(flagged=False)
        summary = pd.concat([published, measured])[measured.columns]
    write_text(results / f"{name}.cells.csv", to_csv(with_titles(measurements, titles)))
    write_text(results / f"{name}.csv", to_csv(summary))
    write_text(results / f"{name}.tex", to_latex(layout, f"tab:{name}"))
    write_text(results / f"{name}.md", to_markdown(layout))


def with_titles(measurements: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """With the titles of columns behind the metrics; of what has no column the metric's name."""
    shown = measurements["metric"].map(lambda metric: titles.get(metric, metric))
    place = measurements.columns.get_loc("metric")
    found = measurements.copy()
    found.insert(int(str(place)) + 1, "title", shown)
    return found


def _protocol(item: Mapping[str, Any]) -> str:
    """Which checkpoint is reported, how it was chosen, and which attacks have other balls."""
    is_last = item["checkpoint"] == "last"
    checkpoint = "Last checkpoint" if is_last else str(item["selection"]["best"])
    return ". ".join(filter(None, [checkpoint, item.get("balls", ""), item.get("meanings", "")]))


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
    for sentence, notes in _footnotes(layout):
        lines += ["", sentence, "", *map(_markdown_note, notes)]
    return "\n".join(lines) + "\n"


def _footnotes(layout: Layout) -> Footnotes:
    """Below the table: sentences and the notes that they introduce."""
    both = ((GAPS_SENTENCE, layout.notes), *layout.footnotes)
    return [(sentence, notes) for sentence, notes in both if notes]


def _markdown_note(note: Note) -> str:
    cells = ", ".join(
        f"`{cell}`{markdown_text(detail)}" + (f", log `{log}`" if log else "")
        for cell, detail, log in note.cells
    )
    return f"- {markdown_text(note.reason)}: {cells}"


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
    for sentence, notes in _footnotes(layout):
        lines += [r"  \par\smallskip", r"  \parbox{\linewidth}{\footnotesize\raggedright"]
        lines.append(f"    {_latex(sentence)}")
        lines += [f"    {_latex_note(note)}." for note in notes]
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
    "‡": r"$^\ddagger$",
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
