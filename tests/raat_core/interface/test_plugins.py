"""Methods from outside the package: found, kept apart, and refused with a reason."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from conftest import small_cell
from raat_core import OLD_NAMES, api
from raat_core.data.dataset import DataSet
from raat_core.errors import UserError
from raat_core.interface.plugins import load_plugin
from raat_core.interface.registry import method_class

METHOD = """
from typing import Literal
from raat_core.methods import Method, MethodSettings, register

class Settings{name}(MethodSettings):
    name: Literal["{name}"] = "{name}"

@register
class Plugin(Method):
    Settings = Settings{name}
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
