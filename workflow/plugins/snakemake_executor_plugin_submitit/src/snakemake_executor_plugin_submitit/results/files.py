"""submitit's result files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any

from submitit.core.utils import JobPaths

from snakemake_executor_plugin_submitit.journal import Attempt


def refresh(folders: Iterable[Path]) -> None:
    """Make a network file system look again for the results in submissions' folders."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.chmod(folder.stat().st_mode)


def read_result(attempt: Attempt) -> tuple[str, object] | None:
    """What submitit left: ("success", None) or ("error", traceback); None if nothing yet."""
    if attempt.id is None:
        return None
    paths = JobPaths(attempt.folder, attempt.id, 0)
    if not paths.result_pickle.exists():
        return None
    try:
        with paths.result_pickle.open("rb") as file:
            outcome, result = _Plain(file).load()
    except (EOFError, OSError, ValueError, TypeError, UnpicklingError):
        return None
    return outcome, result


class _Plain(Unpickler):
    """Reads text and nothing: a pickle that asks for anything else, to run it perhaps, is none."""

    def find_class(self, module: str, name: str) -> Any:
        raise UnpicklingError(f"{module}.{name} in the result of a job")
