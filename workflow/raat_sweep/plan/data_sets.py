"""Where data lies, and what cells' specs say of their data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raat_core.cells.image_folder import ImageFolder
from raat_core.data.cache import data_root
from raat_core.data.image_folder import describe_folder
from raat_core.errors import UserError
from raat_core.validation import one_line
from raat_sweep.config.data_sets import ImageFolderEntry


def data_folder(chosen: str | None) -> Path:
    """Where data lies: a rule's output is below it, in which Snakemake gives { and } a meaning.

    Raises:
        UserError: there are such characters, or control characters, in the path.
    """
    root = data_root(chosen)
    if re.search(r"[{}]", str(root)) or one_line(root) != str(root):
        key = "data" if chosen else "RAAT_DATA"
        raise UserError(one_line(f"{key} = '{root}': must have no {{, }} or line breaks"))
    return root


class DataSets:
    """The data sets of a plan; an image folder of the config's is looked at once."""

    def __init__(self, entries: Mapping[str, ImageFolderEntry], data: Path) -> None:
        self._entries, self._data = entries, data
        self._folders: dict[str, ImageFolder] = {}

    def spec(self, dataset: str) -> dict[str, Any]:
        """What a cell's spec says of a data set; an image folder is read if it has changed."""
        if dataset not in self._entries:
            return {"dataset": dataset}
        if dataset not in self._folders:
            entry = self._entries[dataset]
            self._folders[dataset] = describe_folder(
                dataset, Path(entry.path), entry.image_size, self._data, channels=entry.channels
            )
        folder = self._folders[dataset]
        return {"dataset": folder.register(), "image_folder": folder}
