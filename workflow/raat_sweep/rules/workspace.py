"""What the processes that Snakemake starts find: their environment, and a folder to write to."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from raat_core.errors import UserError
from raat_core.files.atomic import cannot_write, write_bytes
from raat_core.files.locks import exclusive

PACKAGES = ("", "workflow", "workflow/plugins/snakemake_executor_plugin_submitit/src")
"""Where the packages of a checkout lie."""
PROBE_BYTES = 65536
"""More than a log's last lines."""
_held = ExitStack()


def prepare_environment(root: Path, plugins: Sequence[str], data: Path) -> None:
    """Let jobs run as this process does: Python, packages of this checkout, plugins, data.

    With `--sdm conda` the environment's own Python comes before this one. Jobs on other machines
    read the Snakefile again and come by here themselves.
    """
    _prepend("PATH", str(Path(sys.executable).parent))
    _prepend("PYTHONPATH", *(str(root / part) for part in PACKAGES))
    os.environ["RAAT_PLUGINS"] = os.pathsep.join(plugins)
    os.environ["RAAT_DATA"] = str(data)


def hold_results(results: Path) -> None:
    """Lock a results folder until this process ends, however it does.

    Raises:
        UserError: another process holds it (says which), or it cannot be written.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(results, error) from error
    # Never left: the block ends with the process.
    _held.enter_context(exclusive(results, "being filled"))


def storage_trouble(results: Path) -> str | None:
    """Why nothing can be written below a results folder; None if something can.

    Jobs whose logs lie on a full disk cannot say it themselves.
    """
    probe = results / ".probe"
    try:
        write_bytes(probe, bytes(PROBE_BYTES))
        probe.unlink()
    except UserError as error:
        return str(error)
    except OSError as error:
        return str(cannot_write(probe, error))
    return None


def _prepend(variable: str, *entries: str) -> None:
    before = os.environ.get(variable, "")
    os.environ[variable] = os.pathsep.join([*entries, *filter(None, [before])])


def require_writable(results: Path) -> None:
    """Refuse a results folder that cannot be made or written, before any job starts.

    Raises:
        UserError: names the folder that is in the way.
    """
    nearest = require_folder("results", results)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"results = '{results}': {nearest} cannot be written; mend that or choose another "
            f"folder, and give the same command again"
        )


def require_folder(key: str, folder: Path) -> Path:
    """The folder, or else the nearest one above it that is there.

    Raises:
        UserError: a file is in the way; names it.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"{key} = '{folder}': {nearest} is not a folder")
    return nearest
