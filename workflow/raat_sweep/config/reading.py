"""Reading a config: its file, those that it extends, and its plugins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raat_core.errors import UserError
from raat_core.files.plain_data import parse_text, read_text
from raat_core.interface.plugins import load_plugin
from raat_core.validation import parse, refuse_control_characters
from raat_sweep.config.config import Config

ROOT = Path(__file__).resolve().parents[3]


def find_file(path: str) -> Path:
    """A file that a config names: from where the program runs or, else, of this checkout.

    Raises:
        ValueError: no file can have this name.
    """
    refuse_control_characters(path)
    given = Path(path)
    return ROOT / given if not given.exists() and (ROOT / given).exists() else given


def read_config(data: Mapping[str, Any], source: str) -> Config:
    """Validate a config; its plugins are loaded first, so that what they register is known.

    Raises:
        UserError: one line per mistake, naming key, value and what is allowed.
    """
    data = _extended(data, source)
    for plugin in _plugins(data, source):
        if os.pathsep in plugin:
            raise UserError(
                f"{source}: plugins = '{plugin}': must have no '{os.pathsep}', which separates "
                f"plugins in the environment of jobs"
            )
        try:
            load_plugin(plugin)
        except UserError as error:
            raise UserError(f"{source}: plugins: {error}") from error
    config = parse(Config, dict(data), source)
    if not config.items:
        raise UserError(f"{source}: items: is missing: no table or figure is asked for")
    return config


def _extended(data: Mapping[str, Any], source: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A config with the entries of those that it extends; of `plugins`, theirs come first."""
    path = data.get("extends")
    if path is None:
        return dict(data)
    if not isinstance(path, str):
        raise UserError(f"{source}: extends = {path!r}: must be a config's path")
    if path in seen:
        raise UserError(f"{source}: extends = '{path}': these configs extend each other")
    try:
        found = find_file(path)
    except ValueError as error:
        raise UserError(f"{source}: extends = {path!r}: {error}") from None
    inherited = _extended(_load(found), path, (*seen, path))
    merged = dict(inherited)
    for key, value in data.items():
        before = merged.get(key)
        is_mapping = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = {**before, **value} if is_mapping else value  # type: ignore[dict-item]
    plugins = [*_plugins(inherited, path), *_plugins(data, source)]
    if plugins:
        merged["plugins"] = list(dict.fromkeys(plugins))
    return merged


def _plugins(data: Mapping[str, Any], source: str) -> Sequence[str]:
    """What `plugins` of a config says.

    Raises:
        UserError: it is no list of names.
    """
    plugins = data.get("plugins") or []
    if not isinstance(plugins, (list, tuple)) or not all(isinstance(p, str) for p in plugins):
        raise UserError(
            f"{source}: plugins = {plugins!r}: must be a list of files, folders or modules"
        )
    return plugins


def read_config_file(path: Path) -> Config:
    """`read_config` of a YAML file.

    Raises:
        UserError: the file cannot be read, is not YAML, or says something that is not allowed.
    """
    return read_config(_load(path), str(path))


def check_config_files(paths: Iterable[Path]) -> None:
    """Refuse files that another program has read, and read more than it made known.

    Raises:
        UserError: a key stands twice in one of them.
    """
    for path in paths:
        if "__use_yte__" not in read_text(path):  # Else it is a template, not yet YAML.
            _load(path)


def _load(path: Path) -> dict[str, Any]:
    data = parse_text(read_text(path), str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    return data
