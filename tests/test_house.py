"""The house stands as pyproject.toml draws it: floors, no circles, nothing new at a root, no torch.

The floors are data in `[tool.importlinter]`; what says that an arrow runs up names it by modules
and lines.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "raat_core": "",
    "raat_sweep": "workflow",
    "snakemake_executor_plugin_submitit": (
        "workflow/plugins/snakemake_executor_plugin_submitit/src"
    ),
}
"""The packages, and where in the checkout they lie."""
NEEDS_TORCH = (
    "raat_core.api",
    "raat_core.attacks",
    "raat_core.checking.architectures",
    "raat_core.checking.attacks",
    "raat_core.checking.attributes",
    "raat_core.checking.check",
    "raat_core.checking.data_sets",
    "raat_core.checking.draws",
    "raat_core.checking.methods",
    "raat_core.checking.observed",
    "raat_core.checking.resuming",
    "raat_core.checking.tiny",
    "raat_core.checking.watch",
    "raat_core.commands.console",
    "raat_core.cost.measure",
    "raat_core.data.augment",
    "raat_core.data.cifar",
    "raat_core.data.dataset",
    "raat_core.data.digits",
    "raat_core.data.sampling",
    "raat_core.data.tiny_imagenet",
    "raat_core.evaluation.accuracy",
    "raat_core.evaluation.batch",
    "raat_core.evaluation.outcomes",
    "raat_core.evaluation.run",
    "raat_core.exporting.export",
    "raat_core.exporting.network",
    "raat_core.exporting.read_back",
    "raat_core.exporting.writing",
    "raat_core.fast",
    "raat_core.files.provenance",
    "raat_core.models",
    "raat_core.randomness",
    "raat_core.training",
)
"""Files and folders that import torch; whatever else there is must not, once it is imported."""

LINTER = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def check(root: Path) -> str:
    """What the linter of imports says of the packages of a checkout; empty if all is well."""
    paths = [str(root / place) for place in SOURCES.values()]
    done = subprocess.run(
        [sys.executable, "-c", LINTER, "--no-cache", "--no-logo", str(ROOT / "pyproject.toml")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages alone, to be spoiled."""
    root = tmp_path_factory.mktemp("house")
    ignored = shutil.ignore_patterns("__pycache__")
    for package, place in SOURCES.items():
        shutil.copytree(ROOT / place / package, root / place / package, ignore=ignored)
    return root


def test_imports_run_down_the_floors() -> None:
    said = check(ROOT)
    assert not said, said


@pytest.mark.parametrize(
    ("file", "line", "parts"),
    [
        (
            "raat_core/specs/recipe.py",
            "from raat_core.training import loop",
            ["raat_core.specs.recipe -> raat_core.training.loop (l."],
        ),
        (
            "raat_core/methods/pgd_at.py",
            "def late() -> None:\n    from raat_core.attacks import pgd",
            ["raat_core.methods.pgd_at -> raat_core.attacks.pgd (l."],
        ),
        (
            "raat_core/interface/step.py",
            "from raat_core.interface import method",
            ["No circles", ".step -> .method"],
        ),
        ("raat_core/helpers.py", "", ["raat_core", "helpers"]),
        ("workflow/raat_sweep/helpers.py", "", ["raat_sweep", "helpers"]),
        (
            "workflow/raat_sweep/config/defaults.py",
            "from raat_sweep.plan import plan",
            ["raat_sweep.config.defaults -> raat_sweep.plan.plan (l."],
        ),
        (
            "raat_core/files/atomic.py",
            "import raat_sweep.results.markers",
            ["raat_core.files.atomic -> raat_sweep.results.markers (l."],
        ),
    ],
    ids=["up", "up-when-called", "circle", "root", "root-of-sweep", "up-in-sweep", "package"],
)
def test_an_arrow_up_a_circle_and_a_new_root_file_are_named(
    file: str, line: str, parts: list[str], copied: Path
) -> None:
    path = copied / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        said = check(copied)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
    for part in parts:
        assert part in said, said


def modules_of(package: str) -> list[str]:
    """All modules of a package by name."""
    folder = ROOT / SOURCES[package]
    paths = (path.relative_to(folder).with_suffix("") for path in folder.glob(f"{package}/**/*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


WITHOUT_TORCH = """
import importlib, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} is imported where Snakemake's graph is built")

sys.meta_path.insert(0, NoTorch())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def in_a_process_without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / place) for place in SOURCES.values()]
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )


def test_what_builds_the_graph_imports_no_torch() -> None:
    names = [
        name
        for package in ("raat_core", "raat_sweep")
        for name in modules_of(package)
        if not name.endswith("__main__")
        and not any(name == each or name.startswith(f"{each}.") for each in NEEDS_TORCH)
    ]
    assert len(names) > 80
    done = in_a_process_without_torch("", *names)
    assert done.returncode == 0, done.stderr


def test_a_config_is_planned_and_described_without_torch() -> None:
    done = in_a_process_without_torch(
        "from pathlib import Path\n"
        "from raat_sweep.config.reading import read_config_file\n"
        "from raat_sweep.plan.plan import Plan\n"
        "from raat_sweep.rules.description import describe\n"
        "plan = Plan(read_config_file(Path('config/config.yaml')))\n"
        "print(len([describe(plan, name) for name in plan.config.items]))\n"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


def test_an_import_of_torch_is_named() -> None:
    done = in_a_process_without_torch("", "raat_core.cost.measure")
    assert done.returncode != 0
    assert "raat_core/cost/measure.py" in done.stderr
    assert "torch is imported where Snakemake's graph is built" in done.stderr


def test_what_is_said_to_need_torch_is_there() -> None:
    known = modules_of("raat_core")
    for name in NEEDS_TORCH:
        assert name in known


def imports_of(path: Path, known: set[str]) -> set[str]:
    """Files of a folder of scripts that one of them imports, inside functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & known


def order(folder: Path) -> list[str]:
    """Scripts in an order in which each imports those before it.

    Raises:
        CycleError: there is none.
    """
    paths = {
        ".".join(path.relative_to(folder).with_suffix("").parts): path
        for path in folder.glob("**/*.py")
    }
    return list(
        TopologicalSorter(
            {name: imports_of(path, set(paths)) for name, path in paths.items()}
        ).static_order()
    )


def test_benchmarks_do_not_import_one_another_in_circles(tmp_path: Path) -> None:
    assert {"speed", "vs_released", "workers", "sides.ours"} <= set(order(ROOT / "benchmarks"))
    spoiled = tmp_path / "benchmarks"
    shutil.copytree(ROOT / "benchmarks", spoiled)
    with (spoiled / "workers.py").open("a") as file:
        file.write("\ndef late() -> None:\n    import speed\n")
    with pytest.raises(CycleError):
        order(spoiled)


def test_every_folder_of_a_package_says_what_it_holds() -> None:
    """And is a package: one without `__init__.py` would be left out when ours are installed."""
    for package, place in SOURCES.items():
        for folder in (ROOT / place / package).glob("**/"):
            if folder.name == "__pycache__" or not list(folder.glob("*.py")):
                continue
            start = folder / "__init__.py"
            assert start.is_file(), folder
            assert ast.get_docstring(ast.parse(start.read_text())), start


def test_the_linter_is_told_of_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert settings["root_packages"] == list(SOURCES)
