"""Methods by name: the built-in ones and those that plugins register."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TypeVar

from raat_core.errors import UserError
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
_registered: dict[str, type[Method]] = {}
MethodType = TypeVar("MethodType", bound=type[Method])


def register(method: MethodType) -> MethodType:
    """Class decorator: make a method known under the default of its settings' `name`.

    Raises:
        UserError: the name is taken by another class.
    """
    name = method.Settings.model_fields["name"].default
    if not isinstance(name, str):
        raise UserError(f"{method.__qualname__}: its settings' `name` needs a default")
    _refuse_old_hooks(method)
    known = _registered.get(name)
    owner = BUILT_IN_METHODS.get(name) or (known.__module__ if known else method.__module__)
    if owner != method.__module__:
        raise UserError(f"method '{name}' of {method.__module__} is taken: it is one of {owner}")
    _registered[name] = method
    return method


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
    return [*BUILT_IN_METHODS, *(name for name in _registered if name not in BUILT_IN_METHODS)]


def method_class(name: str) -> type[Method]:
    """The method registered as `name`.

    Raises:
        ValueError: no such method; names the nearest one and all that are known.
    """
    if name not in _registered and name in BUILT_IN_METHODS:
        importlib.import_module(BUILT_IN_METHODS[name])
    if name not in _registered:
        hint = " (one of your own needs its plugin to be loaded)"
        raise ValueError(f"unknown method{suggest(name, method_names())}{hint}")
    return _registered[name]


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
