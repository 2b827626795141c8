"""`manifest.json`: what made the weights of a finished training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raat_core.cells.folder import CellFolder
from raat_core.errors import Damaged, UserError
from raat_core.files.checksums import read_json, read_metadata

_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "cell": str,
    "digest": str,
    "finished": str,
    "train_seconds": (int, float),
    "best.epoch": int,
    "best.accuracy": (int, float),
    "best.chosen_by": str,
    "best.split": str,
    "weights_sha256.best": str,
    "weights_sha256.last": str,
}
"""What others read of a manifest, and what it has to be."""


def read_manifest(folder: CellFolder) -> dict[str, Any]:
    """The manifest of a finished training.

    Raises:
        UserError: training is not finished, or the file is damaged.
    """
    if not folder.manifest.exists():
        raise UserError(f"{folder.path}: this cell is not trained, there is no manifest.json")
    manifest = sealed_manifest(folder)
    for place, kind in _REQUIRED.items():
        value: Any = manifest
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, kind):
            damage = Damaged(f"{folder.manifest} is damaged: {place} = {value!r:.60}")
            raise lost(folder, damage)
    return manifest


def sealed_manifest(folder: CellFolder) -> dict[str, Any]:
    """The manifest, whatever stands in it, its checksum verified.

    Raises:
        UserError: it is damaged, missing or cannot be read.
    """
    try:
        manifest = read_json(folder.manifest)
        if not isinstance(manifest, dict):
            raise Damaged(f"{folder.manifest} is damaged: it is no manifest")
    except Damaged as damage:
        raise lost(folder, damage) from damage
    return manifest


def warnings_in(manifest: Mapping[str, Any]) -> list[str]:
    """What a manifest says is to be known of how the best checkpoint was chosen."""
    return [str(each) for each in manifest["best"].get("warnings", [])]


def lost(folder: CellFolder, damage: Damaged) -> Damaged:
    """What to tell of a damaged file of a finished training, of which there is no other."""
    return Damaged(
        f"{damage}; put back a copy of it, or remove {folder.path} and give the same command "
        f"again to make this cell anew"
    )


def last_session(folder: CellFolder) -> dict[str, Any]:
    """Where and when a cell was last trained: `device`, `host`, `scheduler_job` and others.

    From the manifest of a finished training, or else from the state to resume from; empty if
    neither is there and whole.
    """
    try:
        held: Any = read_json(folder.manifest)
    except UserError:
        held = _resume_metadata(folder)
    try:
        return dict(held["sessions"][-1])
    except (LookupError, TypeError, ValueError):
        return {}


def _resume_metadata(folder: CellFolder) -> Any:
    """What stands in the header of the newest whole state; its arrays are not read."""
    for name in ("state", "state.previous"):
        try:
            return read_metadata(folder.resume / f"{name}.safetensors")
        except UserError:
            continue
    return {}
