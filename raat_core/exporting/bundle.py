"""The code of a network as one file that needs only torch: what a function reaches, and no more.

Followed are names: from the function that builds the network to the functions, classes and
constants that it names, and so on, into the modules that these are imported from. Imports of torch
and of Python's own library stay imports. Nothing here needs torch.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import ModuleType
from typing import Any

from raat_core.cells.catalogue import FunctionAt
from raat_core.exporting.statements import (
    IMPORTS,
    CannotFollowError,
    Import,
    Source,
    import_line,
    imported_in,
    names_in,
    stays,
)


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
        CannotFollowError: other packages than torch are needed, or names cannot be followed.
    """
    if isinstance(build, FunctionAt):
        module, name = importlib.import_module(build.module), build.name
    else:
        module, name = sys.modules[build.__module__], getattr(build, "__name__", "")
    if getattr(module, name, None) is not build and not isinstance(build, FunctionAt):
        raise CannotFollowError("what builds it is no function at the top of a file")
    found = _Bundler(module.__name__.partition(".")[0], dict(taken))
    found.need(module, name)
    return Bundle(name, frozenset(found.imports), found.text(), tuple(found.order()))


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
    _sources: dict[str, Source] = field(default_factory=dict)
    _claimed: set[tuple[str, str]] = field(default_factory=set)

    def order(self) -> list[str]:
        """The modules, each behind those that it needs."""
        try:
            found = TopologicalSorter(self._below).static_order()
            return [module for module in found if module in self.parts]
        except CycleError as error:
            raise CannotFollowError(f"its modules import each other: {error.args[1]}") from None

    def text(self) -> str:
        """All but imports."""
        code = [part for module in self.order() for _, part in sorted(self.parts[module].items())]
        return "\n\n\n".join(code)

    def need(self, module: ModuleType, name: str) -> None:
        """Take a name of a module, and all that it names."""
        if module.__name__ not in self._sources:
            self._sources[module.__name__] = Source(module)
            self._below.setdefault(module.__name__, set())
        source = self._sources[module.__name__]
        if name in source.defined:
            if self._claim(name, source):
                taken = self.parts.setdefault(module.__name__, {})
                for position in source.defined[name]:
                    taken[position] = source.segment(position, self._follow(source, position))
        elif name in source.imported:
            statement, alias = source.imported[name]
            if not stays(statement):
                self._take(source, statement, alias)
            elif self._claim(name, source):
                self.imports.add(import_line(statement, alias))
        else:
            raise CannotFollowError(f"{name} of {module.__name__} cannot be followed")

    def _take(self, source: Source, statement: Import, alias: ast.alias) -> None:
        """Take what a module imports of its own package, or of ours."""
        found = source.module_of(statement, alias)
        top = found.__name__.partition(".")[0]
        if top not in (self.package, "raat_core"):
            raise CannotFollowError(f"it needs {top}")
        is_module = isinstance(getattr(found, alias.name, None), ModuleType)
        if isinstance(statement, ast.Import) or is_module or alias.name == "*":
            raise CannotFollowError(
                f"`{ast.unparse(statement)}`: what is imported of one's own must be names, by "
                f"`from ... import name`"
            )
        if alias.asname not in (None, alias.name):
            raise CannotFollowError(f"`{ast.unparse(statement)}`: gives it another name")
        if found.__name__ != source.module.__name__:
            self._below[source.module.__name__].add(found.__name__)
        self.need(found, alias.name)

    def _claim(self, name: str, source: Source) -> bool:
        """Whether a name of a module is new; if it is another thing already, that is refused."""
        thing = vars(source.module).get(name, source)
        if self.things.setdefault(name, thing) is not thing:
            raise CannotFollowError(f"{name} is two things in its modules")
        is_new = (source.module.__name__, name) not in self._claimed
        self._claimed.add((source.module.__name__, name))
        return is_new

    def _follow(self, source: Source, position: int) -> list[ast.stmt]:
        """Take all that a statement names; returns the imports in it that are done with."""
        statement = source.statements[position]
        known = {*source.defined, *source.imported}
        known |= source.imported_inside - imported_in(statement)
        for name, is_annotation in names_in(source, statement):
            if name not in known:
                continue  # Python's own, a local one, or one that the code itself will miss.
            try:
                self.need(source.module, name)
            except CannotFollowError:
                if not is_annotation:
                    raise
        inner = [each for each in ast.walk(statement) if isinstance(each, IMPORTS)]
        done: list[ast.stmt] = []
        for each in inner:
            if not stays(each):
                for alias in each.names:
                    self._take(source, each, alias)
                done.append(each)
        return done
