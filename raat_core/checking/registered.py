"""What a plugin registers, its settings, and its files. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from raat_core.checking.findings import Report
from raat_core.errors import UserError
from raat_core.files.plain_data import parse_text
from raat_core.files.plugin_code import CodeFolder
from raat_core.interface.attack import Attack, AttackSettings
from raat_core.interface.method import Method
from raat_core.interface.plugins import Plugin, load_plugin
from raat_core.interface.registry import ARCHITECTURES, ATTACKS, DATA_SETS, METHODS, Registry
from raat_core.interface.settings import MethodSettings
from raat_core.validation import Frozen, explain, suggest

Kind: TypeAlias = Literal["method", "attack", "architecture", "data set"]
_REGISTRIES: dict[Kind, Registry[Any]] = {
    "method": METHODS,
    "attack": ATTACKS,
    "architecture": ARCHITECTURES,
    "data set": DATA_SETS,
}


@dataclass(frozen=True)
class Extension:
    """One thing that a plugin registers."""

    kind: Kind
    name: str
    version: int
    files: frozenset[str]
    """Of the plugin, for those who look where something happens."""
    modules: tuple[str, ...]
    """The plugin's, by their names in `sys.modules`."""

    def report(self) -> Report:
        """An empty one."""
        return Report(f"{self.kind} '{self.name}', version {self.version}")

    @property
    def settings(self) -> type[MethodSettings] | type[AttackSettings] | None:
        """Of a method or an attack."""
        thing = _REGISTRIES[self.kind].get(self.name)
        return thing.Settings if self.kind in ("method", "attack") else None


def extensions_of_plugin(plugin: str) -> list[Extension]:
    """What a file, folder or module registers, loaded now.

    Raises:
        UserError: it cannot be loaded, or registers nothing.
    """
    load_plugin(plugin)
    place = _place(plugin)
    found = [
        _extension(kind, name, known.get(name), known.plugin(name), place)
        for kind, known in _REGISTRIES.items()
        for name in known.names()
        if _is_of(known, name, place)
    ]
    if not found:
        raise UserError(
            f"{plugin!r} registers no method, attack, architecture or data set: see @register in "
            f"docs/extending.md"
        )
    return found


def extension(kind: Kind, name: str) -> Extension:
    """One that is registered.

    Raises:
        ValueError: there is none; names the nearest one and all that are known.
    """
    known = _REGISTRIES[kind]
    return _extension(kind, name, known.get(name), known.plugin(name), None)


def _place(plugin: str) -> Path | None:
    """The file or folder of a plugin; None for a module without one."""
    if plugin.endswith(".py") or Path(plugin).is_dir():
        return Path(plugin).resolve()
    module = sys.modules.get(plugin)
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    return path.parent if path.name == "__init__.py" else path


def _is_of(known: Registry[Any], name: str, place: Path | None) -> bool:
    """Whether a thing comes from a place: as its plugin says, or by where its code is."""
    if place is None:
        return False
    plugin = known.plugin(name)
    if plugin is not None and Path(plugin.path) == place:
        return True
    module = known.built_in.get(name) if plugin is None else None
    file = _source(known.get(name)) if module is None else _file_of(module)
    return file is not None and (file == place or place in file.parents)


def _source(thing: Any) -> Path | None:
    """The file of a class, or of the function that builds or loads."""
    code = getattr(thing, "build", None) or getattr(thing, "load", None) or thing
    if isinstance(thing, type):
        code = thing
    return _file_of(code.__module__)


def _file_of(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None else Path(file).resolve()


def _extension(
    kind: Kind, name: str, thing: Any, plugin: Plugin | None, place: Path | None
) -> Extension:
    files = {str(file) for file in _files(thing, plugin, place)}
    modules = tuple(
        sorted(
            module
            for module, loaded in list(sys.modules.items())
            if getattr(loaded, "__file__", None) in files
        )
    )
    return Extension(kind, name, thing.version, frozenset(files), modules)


def _files(thing: Any, plugin: Plugin | None, place: Path | None) -> Iterator[Path]:
    """Of a plugin and what it imports of its folder; of a built-in thing, its own."""
    path = place if plugin is None else Path(plugin.path)
    if path is not None and path.is_dir():
        yield from CodeFolder(path).all_files()
    elif path is not None and path.is_file():
        yield from CodeFolder(path.parent).reached_from(path)
    for each in thing.__mro__ if isinstance(thing, type) else ():
        file = _file_of(each.__module__)
        if issubclass(each, (Method, Attack)) and file and each not in (Method, Attack):
            yield file
    source = _source(thing)
    if source is not None and not isinstance(thing, type) and "raat_core" not in source.parts:
        yield source


def read_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["lambda=2", ...]` as settings; values are written as in a config.

    Raises:
        UserError: one is not `key=value`.
    """
    given = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not key or not equals:
            raise UserError(f"--set {assignment!r}: must be key=value")
        given[key.strip()] = parse_text(value, f"--set {key}")
    return given


def require_known_settings(given: Mapping[str, Any], extensions: Sequence[Extension]) -> None:
    """Refuse a setting that nothing has.

    Raises:
        UserError: names it, and those that there are.
    """
    known = dict.fromkeys(key for each in extensions for key in settings_keys(each))
    for key in given:
        if key not in known:
            raise UserError(f"--set {key}: nothing here has this setting{suggest(key, known)}")


def settings_keys(extension: Extension) -> list[str]:
    """The keys that may be given to an extension."""
    settings = extension.settings
    if settings is None:
        return []
    return [key for key in settings.config_keys() if key not in ("name", "kind")] + (
        ["variant"] if extension.kind == "method" else []
    )


def given_to(extension: Extension, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given settings that an extension has."""
    return {key: value for key, value in given.items() if key in settings_keys(extension)}


def describe_settings(
    settings: type[Frozen], report: Report, given: Sequence[str] = (), by: str = ""
) -> None:
    """Note the settings with defaults and descriptions; a hint where one is not described.

    Args:
        settings: which.
        report: is told.
        given: keys of settings that need no default, because they are given.
        by: what gives them.
    """
    for key, field in own_fields(settings).items():
        value = _shown(field) if not field.is_required() else by if key in given else "needed"
        description = " ".join((field.description or "").split())
        report.facts.append(f"{key} = {value}{': ' if description else ''}{description}")
        if not description and len(get_args(field.annotation)) != 1:  # Of one word, as a name is.
            report.hint("settings", f"setting '{key}' has no description: Field(description=...)")


def own_fields(settings: type[Frozen]) -> dict[str, FieldInfo]:
    """Settings by config key, but for those that all methods or attacks have."""
    shared = {**MethodSettings.model_fields, **AttackSettings.model_fields}
    return {
        field.alias or name: field
        for name, field in settings.model_fields.items()
        if name not in shared
    }


def _shown(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return str(default) if not isinstance(default, str) else repr(default)


def missing_settings(settings: type[Frozen], given: Mapping[str, Any]) -> list[str]:
    """The settings without a default that are not given."""
    return [
        key
        for key, field in own_fields(settings).items()
        if field.is_required() and key not in given
    ]


def refusal(error: ValueError) -> str:
    """Why settings or a cell were not valid, in one line."""
    if isinstance(error, ValidationError):
        lines = explain(error, "")
        return "; ".join(line.removeprefix(": ") for line in lines)
    return str(error)
