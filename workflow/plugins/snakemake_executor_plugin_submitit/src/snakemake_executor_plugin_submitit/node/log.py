"""A job's log, in which all that it prints through all its starts is kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def output_to(path: Path, heading: str) -> Iterator[None]:
    """Let everything that this process and its children print go to the job's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        print(f"== {heading}", file=log, flush=True)
        before = [(number, os.dup(number)) for number in (1, 2)]
        sys.stdout.flush()
        sys.stderr.flush()
        for number, _ in before:
            os.dup2(log.fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in before:
                os.dup2(copy, number)
                os.close(copy)


def keep_rule_logs(directory: str, rule_logs: Sequence[str]) -> None:
    """Copy the rule's logs into the job's: Snakemake removes them at the next start."""
    for path in rule_logs:
        with contextlib.suppress(OSError), Path(directory, path).open("rb") as source:
            print(f"-- {path}", flush=True)
            with open(1, "wb", closefd=False) as out:
                shutil.copyfileobj(source, out)
