"""Files and modules of a user's own that register methods."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from raat_core.errors import UserError


def load_plugin(plugin: str) -> None:
    """Import a Python file (`methods/mine.py`) or module (`mine.methods`) that registers methods.

    Raises:
        UserError: it cannot be found or imported.
    """
    try:
        if plugin.endswith(".py"):
            _load_file(Path(plugin).resolve())
        else:
            importlib.import_module(plugin)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # A script that ends by itself, too.
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{plugin!r} cannot be imported: {what}") from error


def load_plugins_from_environment() -> None:
    """`load_plugin` for every entry of RAAT_PLUGINS, separated as PATH is.

    Raises:
        UserError: one cannot be found or imported.
    """
    for plugin in filter(None, os.environ.get("RAAT_PLUGINS", "").split(os.pathsep)):
        try:
            load_plugin(plugin)
        except UserError as error:
            raise UserError(f"RAAT_PLUGINS of the environment: {error}") from error


def _load_file(path: Path) -> None:
    name = f"raat_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
