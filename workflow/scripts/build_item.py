"""Snakemake's way into `raat_sweep.items.build`: one table, one figure, or the list of cells."""

from contextlib import redirect_stderr, redirect_stdout

from raat_sweep.items import build
from snakemake.script import snakemake

with open(snakemake.log[0], "w", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
    build(snakemake.params.item)
