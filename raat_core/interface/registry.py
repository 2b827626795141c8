"""Methods, attacks, architectures and data sets by name: built-in ones and those of plugins."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, get_args, overload

from raat_core.errors import UserError
from raat_core.interface.architecture import Architecture, Builder, RegisteredArchitecture
from raat_core.interface.attack import Attack, AttackSettings
from raat_core.interface.data_set import DataSetSpec, Loader, RegisteredDataSet
from raat_core.interface.facts import CellFacts
from raat_core.interface.method import Method
from raat_core.interface.plugins import Plugin, plugin_of
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
WITHOUT_TRAINING = {"given": "raat_core.methods.given"}
"""Built in as well: the method of cells whose weights were trained elsewhere."""
_CATALOGUE = "raat_core.cells.catalogue"
BUILT_IN_ARCHITECTURES = dict.fromkeys(
    (
        "resnet-mini",
        "resnet-18",
        "resnet-18-bottleneck",
        "preact-resnet-18",
        "preact-resnet-18-normalised",
        "wrn-28-10",
    ),
    _CATALOGUE,
)
BUILT_IN_DATA_SETS = dict.fromkeys(("digits", "cifar10", "cifar100", "tiny-imagenet"), _CATALOGUE)
BUILT_IN_ATTACKS = {
    "clean": "raat_core.evaluation.attacks",
    "pgd": "raat_core.evaluation.attacks",
    "autoattack": "raat_core.evaluation.authors",
    "apgd": "raat_core.evaluation.authors",
    "square": "raat_core.evaluation.authors",
    "transfer": "raat_core.evaluation.transfer",
    "fmn": "raat_core.evaluation.open_attacks",
    "cr": "raat_core.evaluation.open_attacks",
    "corruptions": "raat_core.evaluation.open_attacks",
}
Kind = TypeVar("Kind")
Extension = TypeVar("Extension", bound=type[Method] | type[Attack])


class Registry(Generic[Kind]):
    """Things of one kind by name: the built-in ones, imported when asked for, and plugins'."""

    def __init__(self, kind: str, built_in: Mapping[str, str]) -> None:
        self.kind, self.built_in = kind, built_in
        """`built_in`: modules that register them, by name."""
        self._found: dict[str, Kind] = {}
        self._plugins: dict[str, Plugin] = {}

    def add(self, name: str, thing: Kind, module: str) -> None:
        """Make a thing of a module known.

        Raises:
            UserError: the name is taken by another module or plugin.
        """
        built_in = self.built_in.get(name)
        plugin = None if module == built_in else plugin_of(module)
        mine = module if plugin is None else plugin.path
        known = self._plugins.get(name)
        owner = built_in or (mine if known is None else known.path)
        if owner != mine:
            raise UserError(f"{self.kind} '{name}' of {mine} is taken: it is one of {owner}")
        self._found[name] = thing
        if plugin is not None:
            self._plugins[name] = plugin

    def add_described(self, name: str, thing: Kind, plugin: Plugin | None) -> None:
        """Make a thing known that is made of another one, or of a function that is not run yet.

        Args:
            name: which tells what it is made of, so that nothing else has it.
            thing: under that name.
            plugin: whose code it is; None if it is built in.
        """
        self._found[name] = thing
        if plugin is not None:
            self._plugins[name] = plugin

    def replace(self, name: str, thing: Kind | None) -> None:
        """Put a thing in the place of what has its name, or take that away."""
        if thing is None:
            del self._found[name]
        else:
            self._found[name] = thing

    def plugin(self, name: str) -> Plugin | None:
        """Where a thing comes from; None for a built-in one."""
        return self._plugins.get(name)

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


METHODS: Registry[type[Method]] = Registry("method", {**BUILT_IN_METHODS, **WITHOUT_TRAINING})
ATTACKS: Registry[type[Attack]] = Registry("attack", BUILT_IN_ATTACKS)
ARCHITECTURES: Registry[RegisteredArchitecture] = Registry("architecture", BUILT_IN_ARCHITECTURES)
DATA_SETS: Registry[RegisteredDataSet] = Registry("data set", BUILT_IN_DATA_SETS)


@overload
def register(extension: Extension) -> Extension: ...
@overload
def register(extension: Architecture) -> Callable[[Builder], Builder]: ...
@overload
def register(extension: DataSetSpec) -> Callable[[Loader], Loader]: ...
def register(extension: Any) -> Any:
    """Make a method or an attack known by its settings' default name; a decorator of classes.

    With an `Architecture` or a `DataSetSpec`, a decorator of the function that builds or loads it.

    Raises:
        UserError: the name is taken by another one, or is missing.
    """
    if isinstance(extension, Architecture):
        return _register_architecture(extension)
    if isinstance(extension, DataSetSpec):
        return _register_data_set(extension)
    if not isinstance(extension, type) or not issubclass(extension, (Method, Attack)):
        name = getattr(extension, "__qualname__", repr(extension))
        raise UserError(
            f"{name}: must be a Method or an Attack; what builds a network or loads a data set is "
            f"registered by @register(Architecture(...)) or @register(DataSetSpec(...))"
        )
    _require_whole(extension)
    if issubclass(extension, Method):
        _refuse_old_hooks(extension)
        METHODS.add(_default(extension, "name"), extension, extension.__module__)
    else:
        ATTACKS.add(_default(extension, "kind"), extension, extension.__module__)
    return extension


def _require_whole(extension: type[Method] | type[Attack]) -> None:
    """Refuse a class that could be registered and not be used."""
    name = extension.__qualname__
    settings = getattr(extension, "Settings", None)
    base = MethodSettings if issubclass(extension, Method) else AttackSettings
    if not isinstance(settings, type) or not issubclass(settings, base):
        raise UserError(f"{name}: needs a class attribute Settings, a {base.__name__}")
    missing = sorted(getattr(extension, "__abstractmethods__", ()))
    if missing:
        raise UserError(f"{name}: has no {', '.join(missing)}")
    if issubclass(extension, Attack):
        arguments = ("self", "model", "batch")
        _require_arguments(name, extension.run, arguments)


def _register_architecture(spec: Architecture) -> Callable[[Builder], Builder]:
    def decorate(build: Builder) -> Builder:
        _require_arguments(spec.name, build, ("channels", "classes", "image_size"))
        known = RegisteredArchitecture(**vars(spec), build=build)
        ARCHITECTURES.add(spec.name, known, build.__module__)
        return build

    return decorate


def _register_data_set(spec: DataSetSpec) -> Callable[[Loader], Loader]:
    def decorate(load: Loader) -> Loader:
        _require_arguments(spec.name, load, ("root", "check_stop"))
        DATA_SETS.add(spec.name, RegisteredDataSet(**vars(spec), load=load), load.__module__)
        return load

    return decorate


def _require_arguments(name: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """Refuse what cannot be called as it will be."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        called = getattr(function, "__qualname__", repr(function))
        taken = ", ".join(arguments)
        raise UserError(f"'{name}': {called} must be a function of ({taken})") from None


def _default(extension: type[Method] | type[Attack], key: str) -> str:
    """What the settings say that the extension is called."""
    name = extension.Settings.model_fields[key].default
    if not isinstance(name, str):
        raise UserError(f"{extension.__qualname__}: its settings' `{key}` needs a default")
    allowed = get_args(extension.Settings.model_fields[key].annotation)
    if allowed and name not in allowed:
        raise UserError(
            f"{extension.__qualname__}: its settings' `{key}` is {name!r} by default, and may only "
            f"be {' or '.join(map(repr, allowed))}"
        )
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
    method = method_class(settings.name)(settings, cell)
    if not hasattr(method, "cell"):
        raise UserError(
            f"method '{settings.name}': its __init__ must call super().__init__(settings, cell)"
        )
    return method


def resolve_settings(data: object) -> MethodSettings:
    """Settings from a config's `{name, variant, ...}`: the variant fills what is not given.

    Raises:
        ValueError: unknown method or variant (pydantic's own error for a bad setting).
    """
    if isinstance(data, MethodSettings):
        return data
    given: dict[str, Any] = {"name": data}
    if isinstance(data, str):
        settings = method_class(data).Settings
    elif not isinstance(data, Mapping) or "name" not in data:
        raise ValueError(f"must be a method's name or {{name: ...}}{suggest('', method_names())}")
    else:
        given = dict(data)
        try:
            settings = method_class(str(given["name"])).Settings
        except ValueError as error:
            raise ValueError(f"name = {given['name']!r}: {error}") from None
    variant = given.pop("variant", "paper")
    if variant not in ("paper", "released"):
        raise ValueError(f"variant = {variant!r}{suggest(variant, ['paper', 'released'])}")
    return settings.model_validate({**settings.preset(variant), **given})


def attack_class(kind: str) -> type[Attack]:
    """The attack registered as `kind`.

    Raises:
        ValueError: no such attack; names the nearest one and all that are known.
    """
    return ATTACKS.get(kind)


def build_attack(settings: AttackSettings) -> Attack:
    """The attack of these settings."""
    return attack_class(settings.kind)(settings)


def attack_class_of(data: Mapping[str, object]) -> type[Attack]:
    """The attack that plain data is about: a config's entry, an entry of a list of attacks.

    Raises:
        ValueError: `kind` is missing or unknown; names the nearest one and all that are known.
    """
    if "kind" not in data:
        raise ValueError(f"kind: is missing{suggest('', ATTACKS.names())}")
    kind = data["kind"]
    if kind not in ATTACKS.names():
        hint = " (one of your own needs its plugin to be loaded)"
        raise ValueError(f"kind = {kind!r}{suggest(kind, ATTACKS.names())}{hint}")
    return attack_class(str(kind))


def resolve_attack(data: object) -> AttackSettings:
    """Settings of an attack from `{kind, ...}`.

    Raises:
        ValueError: unknown attack (pydantic's own error for a bad setting).
    """
    if isinstance(data, AttackSettings):
        return data
    if not isinstance(data, Mapping):
        raise ValueError("must be a mapping of keys to values")
    return attack_class_of(data).Settings.model_validate(dict(data))
