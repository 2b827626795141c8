"""Snakemake's way into `raat_sweep.rules.build`: one table, one figure, or the list of cells."""

import logging
import sys
from contextlib import redirect_stdout
from pathlib import Path

from raat_core.errors import UserError
from raat_core.interface.plugins import load_plugins_from_environment
from raat_sweep.rules.build import build

job = snakemake  # noqa: F821 (put here by Snakemake itself)
with Path(job.log[0]).open("w", encoding="utf-8") as log, redirect_stdout(log):
    logging.basicConfig(stream=log)
    try:
        load_plugins_from_environment()
        build(job.params.item, with_gaps=False)
    except UserError as error:
        print(f"error: {error}")
        sys.exit(f"error: {error}")
    except Exception:
        logging.exception("%s could not be made", job.output[0])
        raise
