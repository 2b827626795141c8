"""Which plugins made a cell or a record, for manifests, records and states to resume from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from raat_core.cells.cell import Cell
from raat_core.errors import UserError
from raat_core.interface.registry import ARCHITECTURES, ATTACKS, DATA_SETS, METHODS, Registry

Extension: TypeAlias = dict[str, Any]
"""`kind`, `name`, `version`, `path` and `sha256` of what a plugin registered, as plain data."""
Code: TypeAlias = tuple[str, str, int, str | None]
"""Kind, name, version and checksum: where its file lies does not matter."""


def extensions_of(cell: Cell) -> list[Extension]:
    """Of what a cell's training uses, those that come from plugins."""
    extra = [] if cell.extra_data is None else _extension(DATA_SETS, cell.extra_data.dataset)
    attack = cell.selection.attack
    chosen_by = [] if attack is None else _extension(ATTACKS, attack.kind)
    method = _extension(METHODS, cell.method.name)
    return [*method, *_of_model_and_data(cell), *extra, *chosen_by]


def extensions_of_attack(cell: Cell, attack: str) -> list[Extension]:
    """Of an attack (by its kind) and a cell's architecture and data set."""
    return [*_extension(ATTACKS, attack), *_of_model_and_data(cell)]


def _of_model_and_data(cell: Cell) -> list[Extension]:
    return [*_extension(ARCHITECTURES, cell.architecture), *_extension(DATA_SETS, cell.dataset)]


def _extension(known: Registry[Any], name: str) -> list[Extension]:
    """One, or none if it is built in."""
    plugin = known.plugin(name)
    if plugin is None:
        return []
    where = {"path": plugin.path, "sha256": plugin.sha256}
    return [{"kind": known.kind, "name": name, "version": known.get(name).version, **where}]


def as_metadata(extensions: Sequence[Extension]) -> dict[str, Any]:
    """`{"extensions": ...}`; nothing if there are none."""
    return {"extensions": list(extensions)} if extensions else {}


def code_of(metadata: Mapping[str, Any]) -> list[Code]:
    """What code stands in the metadata of a file, wherever it lay."""
    return [
        (one["kind"], one["name"], one["version"], one["sha256"])
        for one in metadata.get("extensions", ())
    ]


def require_same_code(
    metadata: Mapping[str, Any], extensions: Iterable[Extension], folder: Path
) -> None:
    """Refuse to go on with other code than a state was made by.

    Args:
        metadata: the state's.
        extensions: as they are now.
        folder: what to remove to start again.

    Raises:
        UserError: says which plugin changed, and what to do.
    """
    for one, was in of_other_code(metadata, extensions):
        raise UserError(
            f"{folder}: this training was begun with other code of {describe(one)}; then it "
            f"was {short(was)}. Put the file back; or raise its `version`, which makes another "
            f"cell; or remove {folder} to start this cell again"
        )


def of_other_code(
    metadata: Mapping[str, Any], extensions: Iterable[Extension]
) -> Iterator[tuple[Extension, str | None]]:
    """Those of which a file was made by other code, each with that code's checksum.

    Args:
        metadata: the file's.
        extensions: as they are now.
    """
    before = {(kind, name): sha256 for kind, name, _, sha256 in code_of(metadata)}
    for one in extensions:
        was = before.get((one["kind"], one["name"]), one["sha256"])
        if was != one["sha256"]:
            yield one, was


def describe(extension: Extension) -> str:
    """`method 'mine' of /home/me/mine.py (sha256 0123456789ab)`."""
    kind, name, path = extension["kind"], extension["name"], extension["path"]
    return f"{kind} '{name}' of {path} ({short(extension['sha256'])})"


def describe_beside_now(extension: Extension) -> str:
    """As `describe`, with the version, and whether what is loaded now is other code."""
    known = {registry.kind: registry for registry in (METHODS, ATTACKS, ARCHITECTURES, DATA_SETS)}
    kind, name, version = extension["kind"], extension["name"], extension["version"]
    line = f"{kind} '{name}' version {version}: {extension['path']} ({short(extension['sha256'])})"
    plugin = known[kind].plugin(name) if kind in known else None
    if plugin is None or plugin.sha256 == extension["sha256"]:
        return line
    return f"{line}; what is loaded now is other code: {plugin.path} ({short(plugin.sha256)})"


def short(sha256: str | None) -> str:
    """Of a checksum, what is enough to distinguish two."""
    return "no file" if sha256 is None else f"sha256 {sha256[:12]}"
