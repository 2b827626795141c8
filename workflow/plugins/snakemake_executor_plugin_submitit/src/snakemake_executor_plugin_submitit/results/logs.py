"""What jobs, the cluster and submitit wrote into logs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from snakemake_executor_plugin_submitit.journal import Attempt

TAIL_LINES = 15


def printed_by_cluster(attempt: Attempt) -> str:
    """What the cluster itself, and submitit, wrote into files of their own."""
    logs = sorted(attempt.folder.glob(f"{attempt.id}_0_log.*"))
    return "\n".join(map(end_of, logs))


def end_of(log: Path) -> str:
    """The last part of a log, which may be huge; nothing if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_lines(text: str) -> list[str]:
    """The last lines, without empty ones."""
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()][-TAIL_LINES:]
