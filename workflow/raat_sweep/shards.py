"""Files that say how far attack lists are, in one job or in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raat_core.errors import UserError
from raat_core.storage import read_json


def attacked_name(attacks: str) -> str:
    """Name of the file that says that one job has made a list, in the cell's folder."""
    return f"attacked_{attacks}.json"


def joined_name(attacks: str) -> str:
    """Name of the file that says that a list was made in shards and joined."""
    return f"joined_{attacks}.json"


def shard_name(attacks: str, number: int, of: int) -> str:
    """Name of the file that says that a shard is done."""
    return f"shards/{attacks}_{number}of{of}.json"


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
