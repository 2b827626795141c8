"""Files that say what is done: a training, an attack list, or a shard of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.files.atomic import cannot_write
from raat_core.files.checksums import read_json

TRAINED = "trained.json"
"""Name of the file that says that a cell is trained, in its folder."""
LOOKED_AFTER = "the same command, given again, looks after it"


def run_name(attacks: str) -> str:
    """Name of the file that says that a cell is trained and, in the same job, a list attacked."""
    return f"run_{attacks}.json"


def attacked_name(attacks: str) -> str:
    """Name of the file that says that one job has made a list, in the cell's folder."""
    return f"attacked_{attacks}.json"


def joined_name(attacks: str) -> str:
    """Name of the file that says that a list was made in shards and joined."""
    return f"joined_{attacks}.json"


def shard_names(attacks: str, shards: int) -> list[str]:
    """Names of the files that say that the shards of a list are done, in the cell's folder."""
    return [f"shards/{attacks}_{number}of{shards}.json" for number in range(1, shards + 1)]


def shards_made_in(cell: Path, attacks: str) -> int | None:
    """How many shards a list was made in: 1 for one job, None if it is not made, or does not say.

    Args:
        cell: the cell's folder.
        attacks: name of the list.
    """
    joined = cell / joined_name(attacks)
    if not joined.exists():
        return 1 if (cell / attacked_name(attacks)).exists() else None
    try:
        made: Any = read_json(joined)["shards"]
    except (UserError, LookupError, TypeError):
        return None
    return made if isinstance(made, int) and made > 1 else None


def forget(cell: CellFolder) -> None:
    """Remove what tells Snakemake that a cell is attacked, and if it is not trained, that it is.

    The commands find out for themselves what is left to do, and do no more.

    Raises:
        UserError: they cannot be removed.
    """
    kinds = [name("*") for name in (attacked_name, joined_name, run_name)]
    if not cell.manifest.exists():
        kinds.append(TRAINED)
    for path in (path for kind in kinds for path in cell.path.glob(kind)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
