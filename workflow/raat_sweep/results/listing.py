"""What is in folders while others write to them: nothing is trusted to be there."""

from __future__ import annotations

import os
from pathlib import Path


def names_in(folder: Path) -> list[str]:
    """Names of what is in a folder, sorted; none if it is not there or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []


def changes_in(folder: Path) -> dict[str, float]:
    """When what is in a folder was last changed, by name, in seconds since 1970.

    Nothing if the folder is not there or cannot be read.
    """
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    found[entry.name] = entry.stat().st_mtime
                except FileNotFoundError:
                    continue  # It was being written, and has its own name now.
    except OSError:
        pass
    return found
