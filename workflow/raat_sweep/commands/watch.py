"""`python -m raat_sweep watch`: a sweep's cells as a table, printed once or kept up to date."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from raat_sweep.commands.text import aligned, cut, hours, shorten, span
from raat_sweep.config.reading import ROOT, read_config_file
from raat_sweep.monitor.forecast import Forecast
from raat_sweep.monitor.jobs import STATES
from raat_sweep.monitor.sweep import Row, SweepStatus, sweep_status
from raat_sweep.plan.plan import Plan

DEFAULT_CONFIG = ROOT / "config/config.yaml"
"""As for the Snakefile."""
JOURNAL = Path(".snakemake/submitit")
HEADER = ("cell", "state", "job", "node", "epoch", "loss", "robust", "ETA", "hours", "")
LEFT_ALIGNED = (0, 1, 2, 3, 9)
NARROWEST_NAME = 24
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(config: Path, every: float, once: bool, out: TextIO | None = None) -> None:
    """Print the status of a sweep; on a terminal again and again in place, until Ctrl-C.

    Args:
        config: the sweep's.
        every: seconds between looks.
        once: print everything once, as happens too where `out` is no terminal.
        out: standard output, or another stream.

    Raises:
        UserError: the config is not valid.
    """
    out = out or sys.stdout
    plan = Plan(read_config_file(config))
    if once or not out.isatty():
        width = shutil.get_terminal_size().columns if out.isatty() else None
        print(render(sweep_status(plan, JOURNAL), width), file=out)
        return
    try:
        while True:
            size = shutil.get_terminal_size()
            title = f"{config}  {plan.config.results}  {time.strftime('%Y-%m-%d %H:%M:%S')}"
            text = render(sweep_status(plan, JOURNAL), size.columns, size.lines - 2)
            lines = [cut(title, size.columns), *text.splitlines()]
            screen = "".join(f"{line}{CLEAR_LINE}\n" for line in lines)
            out.write(f"{HOME}{screen}{CLEAR_BELOW}")
            out.flush()
            time.sleep(every)
    except KeyboardInterrupt:
        print(file=out)


def render(sweep: SweepStatus, width: int | None = None, height: int | None = None) -> str:
    """The table of all cells, and a line of totals.

    Args:
        sweep: what to show.
        width: columns of the terminal; None shows all in full.
        height: lines that there is place for; cells that have none are counted.
    """
    footer = [*sweep.warnings, totals(sweep)]
    header, *lines = table(sweep.rows, width)
    if height is not None and 1 + len(lines) + len(footer) > height:
        shown = max(1, height - len(footer) - 2)
        hidden = sum(1 for line in lines[shown:] if not line.startswith(" "))
        lines = [*lines[:shown], f"and {hidden} more cells; --once prints all"]
    body = [header, *lines, *footer]
    return "\n".join(line if width is None else cut(line, width) for line in body)


def table(rows: Sequence[Row], width: int | None) -> list[str]:
    """A header, and a line per cell; the cause of a failure stands on a line of its own."""
    places = [_places(row) for row in rows]
    # Columns in which no cell has anything are left out.
    used = [i for i in range(len(HEADER)) if i == 0 or any(row[i] for row in places)]
    columns = [[HEADER[i], *(row[i] or ("–" if HEADER[i] else "") for row in places)] for i in used]
    if width is not None:
        others = sum(2 + max(map(len, column)) for column in columns[1:])
        columns[0] = [shorten(name, max(NARROWEST_NAME, width - others)) for name in columns[0]]
    left = [place for place, column in enumerate(used) if column in LEFT_ALIGNED]
    header, *rest = aligned(list(zip(*columns, strict=True)), left)
    lines = [header]
    for row, line in zip(rows, rest, strict=True):
        lines.append(line)
        if cause := _cause(row):
            lines.append(f"    {cause}")
    return lines


def _places(row: Row) -> tuple[str, ...]:
    """A row's texts under `HEADER`; empty where there is nothing to say."""
    return (
        row.cell,
        row.state,
        row.job,
        row.node,
        f"{row.epoch}/{row.epochs}" if row.epoch or (row.epochs and row.state != "waiting") else "",
        "" if row.loss is None else f"{row.loss:.4f}",
        "" if row.robust_accuracy is None else f"{row.robust_accuracy:.2f}%",
        "" if row.training_left is None else span(row.training_left),
        f"{hours(row.seconds)} {'GPU' if row.on_gpu else 'CPU'}" if row.seconds else "",
        row.note.format(age=span(row.age)),
    )


def _cause(row: Row) -> str:
    if row.state != "failed":
        return ""
    return f"{row.cause or 'no file says why'}{f' (log: {row.log})' if row.log else ''}"


def totals(sweep: SweepStatus) -> str:
    """How many cells are in each state, what they took, and when the rest is done."""
    counts = Counter(row.state for row in sweep.rows)
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    parts = [f"{len(sweep.rows)} cells: {states}"]
    for on_gpu, unit in ((True, "GPU-hours"), (False, "CPU-hours")):
        if spent := sum(row.seconds for row in sweep.rows if row.on_gpu == on_gpu):
            parts.append(f"{hours(spent)} {unit}")
    if sweep.forecast is not None:
        rest = "the others" if counts["failed"] or counts["lost"] else "all"
        parts.append(f"{rest} done in about {_forecast(sweep.forecast)}")
    return "; ".join(parts)


def _forecast(forecast: Forecast) -> str:
    return f"{span(forecast.seconds)} at {forecast.at_a_time} cells at a time"
