"""Which numbers of an item were made by different code of plugins under one version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raat_core.cells.extensions import Code, code_of, short
from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.files.checksums import read_json, read_metadata
from raat_sweep.numbers.gaps import Note

CODE_SENTENCE = "Made by different code under one version; such numbers may not compare:"


def notes_on_code(rows: Sequence[Mapping[str, Any]], cells: Path) -> list[Note]:
    """A note for every other code than most cells have of a method, architecture, data set, attack.

    Args:
        rows: from `PlannedItem.rows`: `cell`, `record` and `seed`.
        cells: the folder of all cells.
    """
    used: dict[tuple[str, str, int], dict[str | None, dict[str, int]]] = {}
    for cell, seed, (kind, name, version, sha256) in _codes(rows, cells):
        by_code = used.setdefault((kind, name, version), defaultdict(dict))
        by_code[sha256][cell] = seed
    return [
        note
        for extension, by_code in used.items()
        if len(by_code) > 1
        for note in _notes(extension, by_code)
    ]


def _notes(
    extension: tuple[str, str, int], by_code: Mapping[str | None, Mapping[str, int]]
) -> Iterator[Note]:
    kind, name, version = extension
    most, *others = sorted(by_code, key=lambda code: (-len(by_code[code]), str(code)))
    count = f"{len(by_code[most])} cell{'s' if len(by_code[most]) > 1 else ''}"
    for code in others:
        yield Note(
            f"{kind} '{name}' version {version}: {short(code)}, unlike {count} of {short(most)}",
            [(cell, f" (seed {seed})", "") for cell, seed in by_code[code].items()],
        )


def _codes(rows: Sequence[Mapping[str, Any]], cells: Path) -> Iterator[tuple[str, int, Code]]:
    """Cell, seed and code of all that manifests and records name."""
    seen: set[Path] = set()
    for row in rows:
        folder = CellFolder(cells / row["cell"])
        for path in (folder.manifest, folder.record(row["record"]) if row["record"] else None):
            if path is None or path in seen:
                continue
            seen.add(path)
            for code in _code_in(path):
                yield row["cell"], row["seed"], code


def _code_in(path: Path) -> list[Code]:
    """Of a manifest or a record; none of one that is not there or damaged, which is a gap."""
    try:
        metadata = read_json(path) if path.suffix == ".json" else read_metadata(path)
        return code_of(metadata)
    except (UserError, LookupError, TypeError, AttributeError):
        return []
