"""A module's statements, by the names that they bind and use. Needs no torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from raat_core.files.plugin_code import Loader
from raat_core.interface.registry import register

Import: TypeAlias = ast.Import | ast.ImportFrom
IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class CannotFollowError(Exception):
    """Code needs more than torch, or its names cannot be followed; the message says what."""


class Source:
    """A module's statements, by the names that they bind."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.text = _read(module)
        self.statements = ast.parse(self.text).body
        self.defined: dict[str, list[int]] = {}
        """Positions of the statements that make a name what it is."""
        self.imported: dict[str, tuple[Import, ast.alias]] = {}
        self.imported_inside: set[str] = set()
        """Within an `if` or a `try`."""
        for position, statement in enumerate(self.statements):
            if isinstance(statement, IMPORTS):
                self.imported |= {_bound(alias): (statement, alias) for alias in statement.names}
            else:
                if not isinstance(statement, _DEFINITIONS):
                    self.imported_inside |= imported_in(statement)
                for bound in _bound_by(statement):
                    self.defined.setdefault(bound, []).append(position)
                for changed in _changed_by(statement) & set(self.defined):
                    self.defined[changed].append(position)

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

    def module_of(self, statement: Import, alias: ast.alias) -> ModuleType:
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
        raise CannotFollowError(f"the code of {module.__name__} is in no file")
    return Path(file).read_text(encoding="utf-8")


def stays(statement: Import) -> bool:
    """Whether an import works wherever torch is."""
    if isinstance(statement, ast.ImportFrom):
        return statement.level == 0 and _is_at_hand(statement.module or "")
    return all(_is_at_hand(alias.name) for alias in statement.names)


def import_line(statement: Import, alias: ast.alias) -> str:
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


def _bound(alias: ast.alias) -> str:
    """The name that an import binds."""
    return alias.asname or alias.name.partition(".")[0]


def imported_in(statement: ast.stmt) -> set[str]:
    """The names that imports inside of a statement bind."""
    inner = [node for node in ast.walk(statement) if isinstance(node, IMPORTS)]
    return {_bound(alias) for node in inner for alias in node.names}


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


def _changed_by(statement: ast.stmt) -> set[str]:
    """The names whose things a statement at the top changes: `X[0] = 1`, `X.a = 1`, `X.add(1)`."""
    if isinstance(statement, _DEFINITIONS):
        return set()
    changed = [
        node
        for node in ast.walk(statement)
        if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store)
    ]
    called = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(called, ast.Call) and isinstance(called.func, ast.Attribute):
        changed.append(called.func)
    return {
        part.id for node in changed for part in ast.walk(node.value) if isinstance(part, ast.Name)
    }


def names_in(source: Source, statement: ast.stmt) -> Iterator[tuple[str, bool]]:
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
