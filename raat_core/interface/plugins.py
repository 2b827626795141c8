"""Files, folders and modules of a user's own that register extensions."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from raat_core.errors import UserError
from raat_core.files.plugin_code import CodeFolder, code_folder


@dataclass(frozen=True)
class Plugin:
    """Where extensions come from."""

    path: str
    """Of the file or folder; of code that no file holds, the module's name."""
    sha256: str | None
    """Of its code when it was loaded: see `load_plugin`."""


_loaded: dict[str, Plugin] = {}
"""By path, or by name of the module."""
_loading: list[Plugin] = []
"""The last one is being loaded now."""


def load_plugin(plugin: str) -> None:
    """Load a Python file, a folder of them, or a module (`mine.methods`) that registers extensions.

    Of a folder every .py is loaded that does not begin with `_`, or its `__init__.py` if it has
    one. Files import their neighbours, by `from .helper import x` or `import helper`. What was
    loaded before is not loaded again. The checksum that goes into manifests and records is that of
    a file and of all in its folder that it imports; of every .py in a folder; of every .py in a
    module's package.

    Raises:
        UserError: it cannot be found or imported.
    """
    try:
        if plugin.endswith(".py"):
            _load_file(Path(plugin).resolve())
        elif Path(plugin).is_dir():
            _load_folder(Path(plugin).resolve())
        elif os.sep in plugin:
            raise FileNotFoundError(f"no such file or folder: {Path(plugin).resolve()}")
        else:
            _load_module(plugin)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # A script that ends by itself, too.
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{plugin!r} cannot be imported: {what}{_place_of(error)}") from error


def _place_of(error: BaseException) -> str:
    """` (my/alp.py, line 12)`: the last line of a plugin's own code that ran."""
    frames = traceback.extract_tb(error.__traceback__)
    others = (str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix, "<")
    own = [each for each in frames if not each.filename.startswith(others)]
    if not own:
        return ""
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def find_function(reference: str) -> Plugin:
    """Whose code a function is, by `module:function` or `file.py:function`; none of it is run.

    Raises:
        ValueError: it is not written so, or there is no such file or module.
    """
    place, _ = _split(reference)
    return _find(str(Path(place).resolve()) if place.endswith(".py") else place)


@lru_cache(maxsize=64)
def _find(place: str) -> Plugin:
    """Of a file or module; a package is read once."""
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise ValueError(f"no such file: {place}")
        return _plugin_of_file(Path(place))
    top = place.partition(".")[0]
    try:
        found = importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise ValueError(f"no module '{top}' is installed or lies here; or name a file: {top}.py")
    return _plugin_of_module(place)


def import_function(reference: str) -> Callable[..., object]:
    """What stands at `module:function` or `file.py:function`; its code runs.

    Raises:
        UserError: the code cannot be imported, or there is no such function in it.
    """
    place, name = _split(reference)
    load_plugin(place)
    if place.endswith(".py"):
        path = Path(place).resolve()
        module = code_folder(path.parent).import_module(path.stem)
    else:
        module = importlib.import_module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"'{reference}': there is no function or class '{name}' in {place}")
    return cast("Callable[..., object]", function)


def _split(reference: str) -> tuple[str, str]:
    place, _, name = reference.rpartition(":")
    parts = place.split(".") if not place.endswith(".py") else []
    if not place or not name.isidentifier() or not all(part.isidentifier() for part in parts):
        raise ValueError("must be like package.module:function or folder/file.py:function")
    return place, name


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


def plugin_of(module: str) -> Plugin:
    """Whose code registers something: the plugin that is being loaded, or else the module's file.

    Args:
        module: in which the thing is defined.
    """
    if _loading:
        return _loading[-1]
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not Path(file).is_file():
        return Plugin(module, None)
    return _plugin_of_file(Path(file).resolve())


def _plugin_of_file(file: Path) -> Plugin:
    folder = code_folder(file.parent)
    return Plugin(str(file), folder.checksum(folder.reached_from(file)))


def _load_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    folder = code_folder(path.parent)
    _load(str(path), lambda: _plugin_of_file(path), lambda: _import(folder, [path.stem]))


def _load_folder(path: Path) -> None:
    folder = code_folder(path)
    names = [""] if (path / "__init__.py").is_file() else _names_in(path)
    if not names:
        raise FileNotFoundError(f"no .py in {path} but for those that begin with _")

    def find() -> Plugin:
        return Plugin(str(path), folder.checksum(folder.all_files()))

    _load(str(path), find, lambda: _import(folder, names))


def _names_in(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("[!_.]*.py"))


def _import(folder: CodeFolder, names: list[str]) -> None:
    before = folder.modules
    try:
        for name in names:
            if "." in name:
                raise ImportError(f"{name}.py: a plugin's name must have no dot")
            folder.import_module(name)
    except BaseException:
        folder.forget_all_but(before)
        raise


def _load_module(name: str) -> None:
    _load(name, lambda: _plugin_of_module(name), lambda: importlib.import_module(name))


def _plugin_of_module(name: str) -> Plugin:
    """Of the package that a module is in; nothing of it is run."""
    spec = importlib.util.find_spec(name.partition(".")[0])
    if spec is not None and spec.submodule_search_locations:
        path = Path(next(iter(spec.submodule_search_locations))).resolve()
        folder = CodeFolder(path)
        return Plugin(str(path), folder.checksum(folder.all_files()))
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return Plugin(name, None)  # Importing it tells what is the matter.
    file = Path(spec.origin).resolve()
    if file.parent.name in ("site-packages", "dist-packages"):  # All there are neighbours.
        return Plugin(str(file), CodeFolder(file.parent).checksum([file]))
    return _plugin_of_file(file)


def _load(key: str, find: Callable[[], Plugin], run: Callable[[], object]) -> None:
    """Import a plugin's code, unless it was; what it registers meanwhile is its own."""
    if key in _loaded:
        return
    plugin = find()
    _loading.append(plugin)
    try:
        run()
    finally:
        _loading.pop()
    _loaded[key] = plugin
