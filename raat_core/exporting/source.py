"""The code of a network as one file that needs only torch: what a function reaches, and no more.

Followed are names: from the function that builds the network to the functions, classes and
constants that it names, and so on, into the modules that these are imported from. Imports of torch
and of Python's own library stay imports. Nothing here needs torch.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from raat_core.cells.catalogue import FunctionAt
from raat_core.files.plugin_code import Loader
from raat_core.interface.registry import register

_Import: TypeAlias = ast.Import | ast.ImportFrom
_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class CannotBundleError(Exception):
    """The code needs more than torch, or cannot be followed; the message says what."""


@dataclass(frozen=True)
class Bundle:
    """The code of a network."""

    builder: str
    """The function in it that builds the network, of (channels, classes, image size)."""
    imports: frozenset[str]
    """Lines."""
    text: str
    """All else."""
    modules: tuple[str, ...]
    """Where it was taken from."""


def bundle(build: Callable[..., Any], taken: Mapping[str, object]) -> Bundle:
    """The code that what builds an architecture of the catalogue needs.

    Args:
        build: of the architecture.
        taken: what else the file defines and imports, by name.

    Raises:
        CannotBundleError: other packages than torch are needed, or names cannot be followed.
    """
    if isinstance(build, FunctionAt):
        module, name = importlib.import_module(build.module), build.name
    else:
        module, name = sys.modules[build.__module__], getattr(build, "__name__", "")
    if getattr(module, name, None) is not build and not isinstance(build, FunctionAt):
        raise CannotBundleError("what builds it is no function at the top of a file")
    found = _Bundler(module.__name__.partition(".")[0], dict(taken))
    found.need(module, name)
    return Bundle(name, frozenset(found.imports), found.text(), tuple(found.order()))


class _Source:
    """A module's statements, by the names that they bind."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.text = _read(module)
        self.statements = ast.parse(self.text).body
        self.defined: dict[str, list[int]] = {}
        """Positions of the statements that make a name what it is."""
        self.imported: dict[str, tuple[_Import, ast.alias]] = {}
        for position, statement in enumerate(self.statements):
            if isinstance(statement, _IMPORTS):
                for alias in statement.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    self.imported[bound] = (statement, alias)
            else:
                for bound in _bound_by(statement):
                    self.defined.setdefault(bound, []).append(position)

    def segment(self, position: int, without: Collection[ast.stmt]) -> str:
        """A statement as it stands there, unregistered, with what is said of it below.

        Args:
            position: of the statement.
            without: lines in it that are left out.
        """
        statement = self.statements[position]
        lines = [f"@{ast.unparse(each)}" for each in self.decorators(statement)]
        last = statement.end_lineno or statement.lineno
        left_out = {
            line
            for each in without
            for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)
        }
        numbered = enumerate(self.text.splitlines()[statement.lineno - 1 : last], statement.lineno)
        lines += [line for number, line in numbered if number not in left_out]
        after = self.statements[position + 1 : position + 2]
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and after and _is_text(after[0]):
            lines += (ast.get_source_segment(self.text, after[0]) or "").splitlines()
        return "\n".join(lines)

    def decorators(self, statement: ast.stmt) -> list[ast.expr]:
        """Those of a function or class but for `@register(...)`."""
        own = statement.decorator_list if isinstance(statement, _DEFINITIONS) else []
        return [each for each in own if not self._registers(each)]

    def _registers(self, decorator: ast.expr) -> bool:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        thing: Any = self.module
        for part in ast.unparse(called).split("."):
            thing = getattr(thing, part, None)
        return thing is register

    def module_of(self, statement: _Import, alias: ast.alias) -> ModuleType:
        """The module that a name is imported from, or that is imported."""
        # A plugin's own way of importing: its neighbours, too.
        own = vars(self.module)["__builtins__"]
        import_ = own["__import__"] if isinstance(own, dict) else own.__import__
        if isinstance(statement, ast.ImportFrom):
            place = statement.module or ""
            found = import_(place, vars(self.module), None, [alias.name], statement.level)
        else:
            found = import_(alias.name, vars(self.module), None, ["*"], 0)
        assert isinstance(found, ModuleType)
        return found


def _read(module: ModuleType) -> str:
    """A module's code; a plugin's as it ran, whatever was edited since."""
    loader, file = module.__loader__, module.__file__
    if isinstance(loader, Loader):
        return loader.folder.read(Path(loader.path)).decode()
    if file is None or not file.endswith(".py"):
        raise CannotBundleError(f"the code of {module.__name__} is in no file")
    return Path(file).read_text(encoding="utf-8")


@dataclass
class _Bundler:
    """What has been found to be needed."""

    package: str
    """Of the network's code, which is written out; so is what it needs of raat_core."""
    things: dict[str, object]
    """What a name is, in the one file that there will be."""
    imports: set[str] = field(default_factory=set)
    parts: dict[str, dict[int, str]] = field(default_factory=dict)
    """Code by module and place."""
    _below: dict[str, set[str]] = field(default_factory=dict)
    """The modules that a module needs."""
    _sources: dict[str, _Source] = field(default_factory=dict)
    _claimed: set[tuple[str, str]] = field(default_factory=set)

    def order(self) -> list[str]:
        """The modules, each behind those that it needs."""
        try:
            found = TopologicalSorter(self._below).static_order()
            return [module for module in found if module in self.parts]
        except CycleError as error:
            raise CannotBundleError(f"its modules import each other: {error.args[1]}") from None

    def text(self) -> str:
        """All but imports."""
        code = [part for module in self.order() for _, part in sorted(self.parts[module].items())]
        return "\n\n\n".join(code)

    def need(self, module: ModuleType, name: str) -> None:
        """Take a name of a module, and all that it names."""
        if module.__name__ not in self._sources:
            self._sources[module.__name__] = _Source(module)
            self._below.setdefault(module.__name__, set())
        source = self._sources[module.__name__]
        if name in source.defined:
            if self._claim(name, source):
                taken = self.parts.setdefault(module.__name__, {})
                for position in source.defined[name]:
                    taken[position] = source.segment(position, self._follow(source, position))
        elif name in source.imported:
            statement, alias = source.imported[name]
            if not _stays(statement):
                self._take(source, statement, alias)
            elif self._claim(name, source):
                self.imports.add(_line(statement, alias))
        else:
            raise CannotBundleError(f"{name} of {module.__name__} cannot be followed")

    def _take(self, source: _Source, statement: _Import, alias: ast.alias) -> None:
        """Take what a module imports of its own package, or of ours."""
        found = source.module_of(statement, alias)
        top = found.__name__.partition(".")[0]
        if top not in (self.package, "raat_core"):
            raise CannotBundleError(f"it needs {top}")
        is_module = isinstance(getattr(found, alias.name, None), ModuleType)
        if isinstance(statement, ast.Import) or is_module or alias.name == "*":
            raise CannotBundleError(
                f"`{ast.unparse(statement)}`: what is imported of one's own must be names, by "
                f"`from ... import name`"
            )
        if alias.asname not in (None, alias.name):
            raise CannotBundleError(f"`{ast.unparse(statement)}`: gives it another name")
        if found.__name__ != source.module.__name__:
            self._below[source.module.__name__].add(found.__name__)
        self.need(found, alias.name)

    def _claim(self, name: str, source: _Source) -> bool:
        """Whether a name of a module is new; if it is another thing already, that is refused."""
        thing = vars(source.module).get(name, source)
        if self.things.setdefault(name, thing) is not thing:
            raise CannotBundleError(f"{name} is two things in its modules")
        is_new = (source.module.__name__, name) not in self._claimed
        self._claimed.add((source.module.__name__, name))
        return is_new

    def _follow(self, source: _Source, position: int) -> list[ast.stmt]:
        """Take all that a statement names; returns the imports in it that are done with."""
        statement = source.statements[position]
        for name, is_annotation in _names_in(source, statement):
            if name not in source.defined and name not in source.imported:
                continue  # Python's own, a local one, or one that the code itself will miss.
            try:
                self.need(source.module, name)
            except CannotBundleError:
                if not is_annotation:
                    raise
        inner = [each for each in ast.walk(statement) if isinstance(each, _IMPORTS)]
        done: list[ast.stmt] = []
        for each in inner:
            if not _stays(each):
                for alias in each.names:
                    self._take(source, each, alias)
                done.append(each)
        return done


def _stays(statement: _Import) -> bool:
    """Whether an import works wherever torch is."""
    if isinstance(statement, ast.ImportFrom):
        return statement.level == 0 and _is_at_hand(statement.module or "")
    return all(_is_at_hand(alias.name) for alias in statement.names)


def _line(statement: _Import, alias: ast.alias) -> str:
    """The import of one name alone."""
    if isinstance(statement, ast.ImportFrom):
        return ast.unparse(ast.ImportFrom(statement.module, [alias], 0))
    return ast.unparse(ast.Import([alias]))


def _is_at_hand(module: str) -> bool:
    """Whether a module is there wherever torch is."""
    top = module.partition(".")[0]
    return top == "torch" or top in sys.stdlib_module_names


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _bound_by(statement: ast.stmt) -> set[str]:
    """The names that a statement at the top of a module binds or changes."""
    if isinstance(statement, _DEFINITIONS):
        return {statement.name}
    if isinstance(statement, ast.Expr):
        return set()
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } | {node.name for node in ast.walk(statement) if isinstance(node, _DEFINITIONS)}


def _names_in(source: _Source, statement: ast.stmt) -> Iterator[tuple[str, bool]]:
    """The names that a statement uses, each with whether that is in an annotation only."""
    left_out = set(_all_of(set(getattr(statement, "decorator_list", ()))))
    left_out -= set(_all_of(set(source.decorators(statement))))
    in_annotations = set(_all_of(_annotations(statement)))
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and node not in left_out:
            yield node.id, node in in_annotations


def _all_of(nodes: set[ast.expr]) -> Iterator[ast.AST]:
    for node in nodes:
        yield from ast.walk(node)


def _annotations(statement: ast.stmt) -> set[ast.expr]:
    found: list[ast.expr | None] = []
    for node in ast.walk(statement):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            found.append(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(node.returns)
    return {each for each in found if each is not None}
