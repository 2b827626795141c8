"""Names of a data set's classes, from the header of its cache; nothing here needs torch."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors


def class_names(dataset: str, sha256: str | None, root: Path) -> tuple[str, ...] | None:
    """The classes' names in the order of labels; None where no cache of these images has them.

    The images themselves are not read.

    Args:
        dataset: in the catalogue.
        sha256: of the images, as manifests and records have it.
        root: where data lies.
    """
    title = dataset.partition("@")[0]
    for folder in sorted((root / "cache").glob(f"{title}*")):
        # Of a version above 1: `<name>-v2`.
        if folder.name != title and not folder.name.startswith(f"{title}-v"):
            continue
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safetensors.safe_open(path, framework="np") as file:
                    header = file.metadata() or {}
                names = tuple(map(str, json.loads(header["metadata"])["classes"]))
            except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError):
                continue
            if sha256 is not None and header.get("sha256") == sha256:
                return names
    return None
