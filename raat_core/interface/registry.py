"""Methods and attacks by name: the built-in ones and those that plugins register."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Generic, TypeVar

from raat_core.errors import UserError
from raat_core.interface.attack import Attack
from raat_core.interface.facts import CellFacts
from raat_core.interface.method import Method
from raat_core.interface.settings import MethodSettings
from raat_core.validation import suggest

BUILT_IN_METHODS = {
    "pgd-at": "raat_core.methods.pgd_at",
    "trades": "raat_core.methods.trades",
    "mart": "raat_core.methods.mart",
    "cons-at": "raat_core.methods.cons_at",
    "raat": "raat_core.methods.raat",
    "raat++": "raat_core.methods.raat_plus_plus",
    "boundary-study": "raat_core.methods.boundary_study",
    "wa": "raat_core.methods.wa",
    "rebat": "raat_core.methods.rebat",
    "raat#": "raat_core.methods.raat_sharp",
}
BUILT_IN_ATTACKS: dict[str, str] = {}
Kind = TypeVar("Kind")
Extension = TypeVar("Extension", bound=type[Method] | type[Attack])


class Registry(Generic[Kind]):
    """Things of one kind by name: the built-in ones, imported when asked for, and plugins'."""

    def __init__(self, kind: str, built_in: Mapping[str, str]) -> None:
        self.kind, self.built_in = kind, built_in
        """`built_in`: modules that register them, by name."""
        self._found: dict[str, Kind] = {}
        self._modules: dict[str, str] = {}

    def add(self, name: str, thing: Kind, module: str) -> None:
        """Make a thing of a module known.

        Raises:
            UserError: the name is taken by another module.
        """
        owner = self.built_in.get(name) or self._modules.get(name, module)
        if owner != module:
            raise UserError(f"{self.kind} '{name}' of {module} is taken: it is one of {owner}")
        self._found[name], self._modules[name] = thing, module

    def names(self) -> list[str]:
        """All known names: the built-in ones and those of loaded plugins."""
        return [*self.built_in, *(name for name in self._found if name not in self.built_in)]

    def get(self, name: str) -> Kind:
        """The thing of a name.

        Raises:
            ValueError: there is none; names the nearest one and all that are known.
        """
        if name not in self._found and name in self.built_in:
            importlib.import_module(self.built_in[name])
        if name not in self._found:
            hint = " (one of your own needs its plugin to be loaded)"
            raise ValueError(f"unknown {self.kind}{suggest(name, self.names())}{hint}")
        return self._found[name]


METHODS: Registry[type[Method]] = Registry("method", BUILT_IN_METHODS)
ATTACKS: Registry[type[Attack]] = Registry("attack", BUILT_IN_ATTACKS)


def register(extension: Extension) -> Extension:
    """Class decorator: make a method or an attack known by its settings' default name.

    Raises:
        UserError: the name is taken by another class, or is missing.
    """
    if issubclass(extension, Method):
        _refuse_old_hooks(extension)
        METHODS.add(_default(extension, "name"), extension, extension.__module__)
    elif issubclass(extension, Attack):
        ATTACKS.add(_default(extension, "kind"), extension, extension.__module__)
    else:
        raise UserError(f"{extension.__qualname__}: must be a Method or an Attack")
    return extension


def _default(extension: type[Method] | type[Attack], key: str) -> str:
    """What the settings say that the extension is called."""
    name = extension.Settings.model_fields[key].default
    if not isinstance(name, str):
        raise UserError(f"{extension.__qualname__}: its settings' `{key}` needs a default")
    return name


def _refuse_old_hooks(method: type[Method]) -> None:
    """Hooks as they once were would not be called, or fail in the middle of a training."""
    if hasattr(method.Settings, "check_recipe"):
        raise UserError(
            f"{method.Settings.__qualname__}: check_recipe(epochs) is now check(cell), "
            f"and the epochs are cell.recipe.epochs"
        )
    for hook, arguments in (("__init__", "settings, cell"), ("after_epoch", "epoch, model")):
        try:
            inspect.signature(getattr(method, hook)).bind(None, None, None)
        except TypeError:
            raise UserError(
                f"{method.__qualname__}.{hook}: must take (self, {arguments})"
            ) from None


def method_names() -> list[str]:
    """All known names: the built-in methods and those of loaded plugins."""
    return METHODS.names()


def method_class(name: str) -> type[Method]:
    """The method registered as `name`.

    Raises:
        ValueError: no such method; names the nearest one and all that are known.
    """
    return METHODS.get(name)


def build_method(settings: MethodSettings, cell: CellFacts) -> Method:
    """The method of these settings, for a cell."""
    return method_class(settings.name)(settings, cell)


def resolve_settings(data: object) -> MethodSettings:
    """Settings from a config's `{name, variant, ...}`: the variant fills what is not given.

    Raises:
        ValueError: unknown method or variant (pydantic's own error for a bad setting).
    """
    if isinstance(data, MethodSettings):
        return data
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, Mapping) or "name" not in data:
        raise ValueError(f"must be a method's name or {{name: ...}}{suggest('', method_names())}")
    settings = method_class(str(data["name"])).Settings
    given = {key: value for key, value in data.items() if key != "variant"}
    variant = data.get("variant", "paper")
    if variant not in ("paper", "released"):
        raise ValueError(f"variant = {variant!r}{suggest(variant, ['paper', 'released'])}")
    return settings.model_validate({**settings.preset(variant), **given})
