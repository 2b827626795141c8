"""The code of plugins: its files, their checksum, and imports of neighbours.

Every folder is a package of its own, so that modules of one name in two folders are two modules.
What runs is what was read for the checksum, whatever is edited later in the life of the process.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_PREFIX = "raat_plugin_"
_OURS = frozenset(("raat_core", "raat_sweep", "snakemake_executor_plugin_submitit"))
"""A plugin at the root of a checkout has them as neighbours, and means the ones that run."""


class CodeFolder:
    """A folder of Python files whose modules find each other, by `.name` and by `name`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.package = f"{_PREFIX}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        self._sources: dict[Path, bytes] = {}
        self._neighbours: dict[str, bool] = {}

    def read(self, file: Path) -> bytes:
        """A file's content as it was when it was first read."""
        if file not in self._sources:
            self._sources[file] = file.read_bytes()
        return self._sources[file]

    def find(self, name: str) -> Path | None:
        """The file of the module `name` (`a.b`) in this folder; None if there is none."""
        place = self.path.joinpath(*name.split("."))
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
        return None

    def all_files(self) -> list[Path]:
        """Every .py in it and below it, but for what is hidden."""
        return [
            file
            for file in sorted(self.path.rglob("*.py"))
            if not any(part.startswith(".") for part in file.relative_to(self.path).parts)
        ]

    def reached_from(self, file: Path) -> list[Path]:
        """A file and what it imports of this folder, inside functions too, and what these do."""
        found: dict[Path, None] = {}
        waiting = [file]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found[one] = None
                waiting += self._imported_by(one)
        return sorted(found)

    def checksum(self, files: Sequence[Path]) -> str:
        """SHA-256: of one file its content's, of several that of what `sha256sum` says of them."""
        sums = {file: hashlib.sha256(self.read(file)).hexdigest() for file in files}
        if len(sums) == 1:
            return next(iter(sums.values()))
        lines = (f"{sha256}  {file.relative_to(self.path)}\n" for file, sha256 in sums.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def import_module(self, name: str) -> ModuleType:
        """The module `name` of this folder; the folder's own `__init__` if it is empty."""
        package = self._as_package()
        if name:
            return importlib.import_module(f"{self.package}.{name}")
        start = self.path / "__init__.py"
        if package.__file__ is None:
            package.__file__ = str(start)
            Loader(self.package, str(start), self).exec_module(package)
        return package

    @property
    def modules(self) -> set[str]:
        """What its imported modules are called in `sys.modules`."""
        return {n for n in sys.modules if n == self.package or n.startswith(f"{self.package}.")}

    def forget_all_but(self, modules: set[str]) -> None:
        """Drop the other modules and what was read of them: a plugin could not be loaded."""
        for name in self.modules - modules:
            del sys.modules[name]
        kept = {getattr(sys.modules[name], "__file__", None) for name in self.modules}
        self._sources = {file: text for file, text in self._sources.items() if str(file) in kept}
        self._neighbours.clear()

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` of its modules: `import name` finds the neighbour of that name first."""
        importer = str((globals or {}).get("__name__", ""))
        mine = self._own_name(name, importer) if level == 0 else None
        if mine is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        self._as_package()
        if fromlist:
            return builtins.__import__(mine, globals, locals, fromlist, 0)
        importlib.import_module(mine)
        top = name.partition(".")[0]
        return sys.modules[self.package if top == self.path.name else f"{self.package}.{top}"]

    def _own_name(self, name: str, importer: str) -> str | None:
        """What a neighbour is called in `sys.modules`; None if `name` is no neighbour's."""
        top, dot, rest = name.partition(".")
        package = sys.modules.get(self.package)
        if top == self.path.name and getattr(package, "__file__", None) is not None:
            return f"{self.package}{dot}{rest}"
        if importer == f"{self.package}.{top}" or not self._is_neighbour(top):
            return None
        return f"{self.package}.{name}"

    def _is_neighbour(self, top: str) -> bool:
        """Looked up once: an import inside a function may run at every step."""
        if top not in self._neighbours:
            elsewhere = top in sys.stdlib_module_names or top in _OURS
            self._neighbours[top] = not elsewhere and self.find(top) is not None
        return self._neighbours[top]

    def _as_package(self) -> ModuleType:
        _FOLDERS[self.package] = self
        if self.package not in sys.modules:
            spec = ModuleSpec(self.package, None, is_package=True)
            spec.submodule_search_locations = [str(self.path)]
            module = importlib.util.module_from_spec(spec)
            module.__file__ = None
            module.__path__ = [str(self.path)]
            sys.modules[self.package] = module
        return sys.modules[self.package]

    def _imported_by(self, file: Path) -> Iterator[Path]:
        for name in self._names_in(file):
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                found = self.find(".".join(parts[:end]))
                if found is not None:
                    yield found

    def _names_in(self, file: Path) -> Iterator[str]:
        """Names, from this folder on, of what may be its modules in the imports of a file."""
        within = file.parent.relative_to(self.path).parts
        for level, names in _imports(self.read(file)):
            if level == 0:
                yield from self._neighbours_among(names)
            elif level <= len(within) + 1:
                above = within[: len(within) - level + 1]
                yield from (".".join([*above, name]) for name in names)

    def _neighbours_among(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            top, _, rest = name.partition(".")
            if top == self.path.name and rest and (self.path / "__init__.py").is_file():
                yield rest
            elif self._is_neighbour(top):
                yield name


def _imports(source: bytes) -> Iterator[tuple[int, list[str]]]:
    """Of every import in a file: the number of its leading dots, and what it may name."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # It is told when it is loaded.
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield 0, [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            yield node.level, [*base, *(".".join([*base, alias.name]) for alias in node.names)]


class Loader(SourceFileLoader):
    """Runs a module of a folder from the source that was read; nothing is compiled to disk."""

    def __init__(self, name: str, path: str, folder: CodeFolder) -> None:
        super().__init__(name, path)
        self.folder = folder

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.folder.read(Path(self.path)), self.path)

    def exec_module(self, module: ModuleType) -> None:
        # Functions of the module look up `__import__` here, whenever they run.
        own = {**vars(builtins), "__import__": self.folder.import_}
        module.__dict__["__builtins__"] = own
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules of all `CodeFolder`s."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        folder = _FOLDERS.get(package)
        file = folder.find(rest) if folder and rest else None
        if folder is None or file is None:
            return None
        inner = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name,
            file,
            loader=Loader(name, str(file), folder),
            submodule_search_locations=inner,
        )


_FOLDERS: dict[str, CodeFolder] = {}
sys.meta_path.insert(0, _Finder())


def code_folder(path: Path) -> CodeFolder:
    """The folder at `path`; the same one for the same path."""
    folder = CodeFolder(path)
    return _FOLDERS.setdefault(folder.package, folder)
