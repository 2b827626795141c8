"""Architectures and data sets from outside the package, by `register`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import small_cell
from plugin_files import write_extensions
from raat_core import api
from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.commands.cli import main
from raat_core.errors import UserError
from raat_core.interface import Architecture, DataSetSpec, register, registry
from raat_core.interface.operations import ResidualNetwork
from raat_core.interface.plugins import load_plugin


def takes_root(root: Path) -> None:
    """A loader that takes too little."""


DIGITS: dict[str, Any] = {
    "name": "some-digits",
    "title": "Some digits",
    "image_shape": (1, 8, 8),
    "classes": 10,
    "train_size": 100,
    "test_size": 50,
}


def test_the_catalogue_registers_all_that_is_built_in() -> None:
    assert list(DATA_SETS)[:4] == list(registry.BUILT_IN_DATA_SETS)
    assert set(registry.BUILT_IN_ARCHITECTURES) <= set(ARCHITECTURES)
    for name in registry.BUILT_IN_ARCHITECTURES:
        assert ARCHITECTURES[name].name == name
        assert registry.ARCHITECTURES.plugin(name) is None


def test_a_network_and_a_data_set_of_a_folder_train(tmp_path: Path) -> None:
    load_plugin(str(write_extensions(tmp_path / "plugin", "net-a", "digits-a")))
    cell = small_cell(dataset="digits-a", architecture="net-a")
    folder = api.train(cell, tmp_path / "cell")
    (summary, *_) = api.attack(folder, api.standard_attacks(cell.threat_model)[:1])["attacks"]
    assert summary["samples"] == 60
    assert api.load_data_set("digits-a").sha256 is not None


def test_what_is_built_in_cannot_be_replaced() -> None:
    with pytest.raises(UserError, match=r"architecture 'resnet-18' of .* is taken: it is one of"):
        register(Architecture("resnet-18", "Mine"))(lambda channels, classes, image_size: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(UserError, match=r"data set 'digits' of .* is taken: it is one of raat_c"):
        register(DataSetSpec(**{**DIGITS, "name": "digits"}))(lambda root, check_stop: None)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Architecture("a b", "T"), r"architecture 'a b': a name must be letters"),
        (lambda: Architecture("x" * 61, "T"), "at most 60"),
        (lambda: Architecture("n", ""), r"architecture 'n': title = '': must be text"),
        (lambda: Architecture("n", "a\nb"), "title = .*: must have no line breaks"),
        (lambda: Architecture("n", "T", version=0), "version = 0: must be a whole number"),
        (lambda: Architecture("n", "T", channels=True), "channels = True: must be a whole"),
        (lambda: Architecture("n", "T", operations=3), "operations = 3: must be a function"),  # type: ignore[arg-type]
        (lambda: DataSetSpec(**{**DIGITS, "name": "a/b"}), "data set 'a/b': a name"),
        (lambda: DataSetSpec(**{**DIGITS, "image_shape": [1, 8, 8]}), r"image_shape = \[1, 8, 8\]"),
        (lambda: DataSetSpec(**{**DIGITS, "image_shape": (1, 0, 8)}), "height = 0"),
        (lambda: DataSetSpec(**{**DIGITS, "classes": 1}), "classes = 1: .* at least 2"),
        (lambda: DataSetSpec(**{**DIGITS, "test_size": 0.5}), "test_size = 0.5"),
        (lambda: register(DataSetSpec(**DIGITS))(takes_root), r"function of \(root, check_stop\)"),  # type: ignore[arg-type]
        (lambda: register(Architecture("n", "T"))(len), r"'n': len must be a function of"),  # type: ignore[arg-type]
        (lambda: register(len), "len: must be a Method or an Attack; what builds"),  # type: ignore[call-overload]
    ],
)
def test_what_makes_no_sense_is_one_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(ValueError, match="block = 'bsic'; did you mean 'basic'"):
        ResidualNetwork("bsic", 16, (16,), (1,))  # type: ignore[arg-type]


def test_a_model_that_is_none_is_one_line() -> None:
    register(Architecture("no-model", "T"))(lambda channels, classes, image_size: None)  # type: ignore[arg-type, return-value]
    from raat_core.models.build import build_model

    with pytest.raises(UserError, match=r"no-model: its function returned NoneType, not a torch"):
        build_model("no-model", 1, 10, seed=0)


def test_data_and_measure_take_plugins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(write_extensions(tmp_path / "plugin", "net-b", "digits-b"))
    summary = tmp_path / "data.json"
    arguments = ["--plugin", folder]
    assert main(["data", "digits-b", *arguments, "--summary", str(summary)]) == 0
    assert "136 training and 60 test images of 1 × 8 × 8" in capsys.readouterr().out
    assert summary.exists()
    assert main(["data", "digits-bb", *arguments]) == 2
    assert "did you mean 'digits-b'?" in capsys.readouterr().err
