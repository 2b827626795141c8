"""Why a number is not there."""

from __future__ import annotations

from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_sweep.monitor.failures import Failures


def damaged(what: str, error: UserError) -> dict[str, str]:
    """`gap` and `log` of a number that cannot be told; the file is named in the log."""
    print(f"warning: {error}", flush=True)
    return {"gap": what, "log": ""}


def gap_of(what: str, cell: CellFolder, failures: Failures) -> dict[str, str]:
    """`gap` and `log` of a number that is not there."""
    failure = failures.of(cell)
    if failure is None:
        return {"gap": what, "log": ""}
    return {"gap": f"{what}: {failure.reason}", "log": str(failure.log)}
