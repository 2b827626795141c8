"""Methods from outside the package: found, kept apart, and refused with a reason."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import small_cell
from raat_core import OLD_NAMES, api
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.interface.plugins import Plugin, load_plugin
from raat_core.interface.registry import METHODS, method_class

METHOD = """
from typing import Literal
from raat_core.methods import Method, MethodSettings, register

class MySettings(MethodSettings):
    name: Literal["{name}"] = "{name}"

@register
class Plugin(Method):
    Settings = MySettings
    def loss(self, step):
        return {{}}
"""


def plugin(folder: Path, name: str, file: str = "plugin.py") -> str:
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(METHOD.format(name=name))
    return str(folder / file)


def test_files_of_one_name_in_two_folders_are_two_plugins(tmp_path: Path) -> None:
    for name in ("first", "second"):
        load_plugin(plugin(tmp_path / name, name))
    assert method_class("first") is not method_class("second")


def test_a_name_is_registered_once(tmp_path: Path) -> None:
    path = plugin(tmp_path / "a", "twice")
    load_plugin(path)
    load_plugin(path)
    with pytest.raises(UserError, match=r"method 'twice' of .* is taken"):
        load_plugin(plugin(tmp_path / "b", "twice"))


def test_a_built_in_method_cannot_be_replaced(tmp_path: Path) -> None:
    """Its cells would be taken for the real one's."""
    path = Path(plugin(tmp_path, "X"))
    path.write_text(path.read_text().replace('"X"', '"pgd-at"'))
    with pytest.raises(UserError, match=r"method 'pgd-at' .* one of raat_core\.methods\.pgd_at"):
        load_plugin(str(path))


@pytest.mark.parametrize(
    ("source", "reason"),
    [("import nowhere", "ModuleNotFoundError"), ("x =", "SyntaxError"), ("1 / 0", "division by")],
)
def test_a_broken_plugin_is_one_line(source: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(UserError, match=reason) as caught:
        load_plugin(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("old", sorted(OLD_NAMES))
def test_a_module_is_found_under_the_name_that_it_once_had(old: str) -> None:
    assert importlib.import_module(old) is importlib.import_module(OLD_NAMES[old])


OLD_METHOD = """
from typing import Literal

from raat_core.catalogue import DATA_SETS
from raat_core.losses import Numerics, cross_entropy, kl_divergence
from raat_core.methods.averaging import Averaging, AveragingSettings
from raat_core.methods.base import (
    AttackObjective, BatchNormMode, LogitsMode, Method, MethodSettings, Start, Step, departure,
    forward_twice, register,
)
from raat_core.operations import Operations, Passes, ResidualNetwork

class OldSettings(AveragingSettings):
    name: Literal["old-names"] = "old-names"
    average_from: int = 0
    attack_start: Start = departure("uniform", "gaussian", "Start of the attack.")

@register
class Old(Averaging):
    Settings = OldSettings

    def objective(self, step):
        (images,) = step.views
        attacked = self.attacked(step, images, step.labels, start=self.settings.attack_start)
        return {"supervised": cross_entropy(step.forward(attacked), step.labels).mean()}

    def passes(self, steps, correct):
        return Passes(gradients=steps, updates=1)
"""


def test_a_method_that_imports_old_names_trains(tmp_path: Path, small_data: DataSet) -> None:
    path = tmp_path / "old.py"
    path.write_text(OLD_METHOD)
    load_plugin(str(path))
    folder = api.train(small_cell(method="old-names"), tmp_path / "cell", data=small_data)
    assert (folder / "manifest.json").exists()


# Neighbours and folders

WITH_NEIGHBOURS = """
from .helper import VALUE
import helper
import helper as again
from helper import VALUE as absolute

assert VALUE == absolute == helper.VALUE == again.VALUE

def later():
    import helper
    from inner.deep import DEEP
    return helper.VALUE, DEEP
"""


def with_neighbours(folder: Path, value: str) -> str:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/__init__.py").write_text("")
    (folder / "inner/deep.py").write_text(f"from ..helper import VALUE\nDEEP = VALUE + '{value}'")
    (folder / "helper.py").write_text(f"import random\nimport os.path\nVALUE = '{value}'")
    name = f"neighbours-{value}"
    source = f"{WITH_NEIGHBOURS}\n{METHOD.format(name=name)}\n    later = staticmethod(later)\n"
    (folder / "mine.py").write_text(source)
    return str(folder / "mine.py")


def test_neighbours_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    for value in ("a", "b"):
        load_plugin(with_neighbours(tmp_path / value, value))
    for value in ("a", "b"):
        method: Any = method_class(f"neighbours-{value}")
        assert method.later() == (value, value + value)
    assert "helper" not in sys.modules
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_neighbour_hides_no_module_of_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("1 / 0")
    path = Path(plugin(tmp_path, "unhidden"))
    path.write_text(f"import random\nrandom.random()\n{path.read_text()}")
    load_plugin(str(path))


def test_a_plugin_beside_the_package_means_the_package_that_runs(tmp_path: Path) -> None:
    (tmp_path / "raat_core").mkdir()
    (tmp_path / "raat_core/__init__.py").write_text("1 / 0")
    load_plugin(plugin(tmp_path, "beside"))


def test_of_a_folder_every_file_is_loaded_that_does_not_begin_with_an_underscore(
    tmp_path: Path,
) -> None:
    for name in ("inner-a", "inner-b"):
        plugin(tmp_path / "folder", name, f"{name}.py")
    (tmp_path / "folder/_broken.py").write_text("1 / 0")
    load_plugin(str(tmp_path / "folder"))
    load_plugin(str(tmp_path / "folder"))
    assert method_class("inner-a").version == method_class("inner-b").version == 1
    load_plugin(str(tmp_path / "folder/inner-a.py"))


def test_of_a_package_its_init_is_loaded(tmp_path: Path) -> None:
    package = tmp_path / "mypackage"
    plugin(package, "packed", "method.py")
    (package / "unused.py").write_text("1 / 0")
    (package / "__init__.py").write_text(
        "from . import method\nfrom mypackage.method import Plugin"
    )
    load_plugin(str(package))
    assert METHODS.plugin("packed") == Plugin(str(package), checksum_of(package))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ([], "no .py in .*/empty but for those that begin with _"),
        (["_a.py"], "no .py in .*/empty"),
    ],
)
def test_a_folder_without_extensions_is_refused(make: list[str], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for name in make:
        (folder / name).write_text("")
    with pytest.raises(UserError, match=said):
        load_plugin(str(folder))
    with pytest.raises(UserError, match="no such file or folder"):
        load_plugin(str(tmp_path / "nowhere"))


def test_a_plugin_that_failed_is_loaded_again_once_it_is_mended(tmp_path: Path) -> None:
    good = plugin(tmp_path, "good", "good.py")
    path = plugin(tmp_path, "mended", "mended.py")
    load_plugin(good)
    (tmp_path / "helper.py").write_text("1 / 0")
    Path(path).write_text(f"import helper\n{Path(path).read_text()}")
    with pytest.raises(UserError, match="division by zero"):
        load_plugin(path)
    (tmp_path / "helper.py").write_text("")
    load_plugin(path)
    load_plugin(good)
    assert method_class("good") is not method_class("mended")


# Checksums


def checksum_of(folder: Path, *names: str) -> str:
    """As `sha256sum` and again `sha256sum` say it."""
    files = sorted(folder.rglob("*.py")) if not names else [folder / name for name in names]
    lines = (
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n"
        for file in files
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_checksum_of_a_file_alone_is_its_own(tmp_path: Path) -> None:
    path = plugin(tmp_path, "alone")
    (tmp_path / "other.py").write_text("")
    load_plugin(path)
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert METHODS.plugin("alone") == Plugin(path, sha256)


def test_the_checksum_of_a_file_is_over_what_it_imports_in_functions_too(tmp_path: Path) -> None:
    path = with_neighbours(tmp_path / "c", "c")
    (tmp_path / "c/unused.py").write_text("")
    load_plugin(path)
    names = ["helper.py", "inner/__init__.py", "inner/deep.py", "mine.py"]
    assert METHODS.plugin("neighbours-c") == Plugin(path, checksum_of(tmp_path / "c", *names))


def test_what_runs_later_is_what_was_read_for_the_checksum(tmp_path: Path) -> None:
    load_plugin(with_neighbours(tmp_path / "d", "d"))
    (tmp_path / "d/inner/deep.py").write_text("DEEP = 'edited'")
    method: Any = method_class("neighbours-d")
    assert method.later() == ("d", "dd")


def test_built_in_methods_come_from_no_plugin(tmp_path: Path) -> None:
    path = Path(plugin(tmp_path, "asks"))
    path.write_text(
        "from raat_core.interface.registry import method_class\n"
        f"method_class('trades')\n{path.read_text()}"
    )
    load_plugin(str(path))
    assert METHODS.plugin("trades") is None
    assert METHODS.plugin("asks") is not None


def test_a_module_brings_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(tmp_path / "some_package", "of-a-module", "methods.py")
    (tmp_path / "some_package/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    load_plugin("some_package.methods")
    found = METHODS.plugin("of-a-module")
    package = tmp_path / "some_package"
    assert found == Plugin(str(package), checksum_of(package))
