"""Snakemake's way into `raat_sweep.items.build`: one table, one figure, or the list of cells."""

from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from raat_sweep.items import build

job = snakemake  # noqa: F821 (put here by Snakemake itself)
with (
    Path(job.log[0]).open("w", encoding="utf-8") as log,
    redirect_stdout(log),
    redirect_stderr(log),
):
    build(job.params.item)
