"""Pages made of headings, paragraphs and tables, in Markdown and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable

from raat_sweep.numbers.formatting import markdown_text

Block = str | tuple[list[str], list[list[str]]]
"""A heading (`# ...`), a paragraph, or a table: its header and its rows."""


def to_markdown(page: Iterable[Block]) -> list[str]:
    """Lines in GitHub's Markdown."""
    lines: list[str] = []
    for block in page:
        if isinstance(block, str):
            level = _heading_level(block)
            lines += [f"{block[:level]} {markdown_text(block[level:].strip())}".lstrip(), ""]
            continue
        header, rows = block
        lines += [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
        lines += [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
        lines.append("")
    return lines


_STYLE = (
    "body{font:14px/1.4 sans-serif;margin:2em;max-width:75em}"
    "table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;"
    "text-align:left}th{border-bottom:2px solid #888}"
)


def to_html(page: Iterable[Block], title: str) -> list[str]:
    """One self-contained page for Snakemake's report."""
    lines = [
        f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style>",
    ]
    for block in page:
        if isinstance(block, str):
            level = _heading_level(block)
            tag = f"h{level}" if level else "p"
            lines.append(f"<{tag}>{html.escape(block[level:].strip())}</{tag}>")
            continue
        header, rows = block
        lines += ["<table>", _html_row("th", header)]
        lines += [_html_row("td", row) for row in rows]
        lines.append("</table>")
    return [*lines, ""]


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _heading_level(block: str) -> int:
    """0 for a paragraph."""
    return len(block) - len(block.lstrip("#")) if block.lstrip("#").startswith(" ") else 0
