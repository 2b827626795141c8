"""Plugins in digests, manifests, records and states."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import small_cell
from plugin_files import write_extensions
from raat_core import api
from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS, Catalogue
from raat_core.cells.cell import Cell
from raat_core.cells.extensions import as_metadata, extensions_of, require_same_code
from raat_core.cells.folder import CellFolder
from raat_core.commands.show import describe
from raat_core.data.dataset import DataSet
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation.parts import identity_of
from raat_core.evaluation.records import Record
from raat_core.interface import registry
from raat_core.interface.plugins import Plugin, load_plugin
from raat_core.training.loop import Training


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    """Of a network and a data set of a plugin."""
    folder = write_extensions(tmp_path_factory.mktemp("plugin"), "net-p", "digits-p")
    load_plugin(str(folder))
    return small_cell(dataset="digits-p", architecture="net-p")


def edit(patch: pytest.MonkeyPatch, known: Any, name: str) -> None:
    """As if a plugin's file were another one."""
    plugin = known.plugin(name)
    patch.setitem(known._plugins, name, Plugin(plugin.path, "f" * 64))


@pytest.mark.parametrize(("catalogue", "name"), [(ARCHITECTURES, "net-p"), (DATA_SETS, "digits-p")])
def test_a_version_is_in_the_digest_where_it_is_not_1(
    catalogue: Catalogue[Any], name: str, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {"as it is": cell.digest}
    for version in (1, 2, 3):
        monkeypatch.setitem(catalogue, name, replace(catalogue[name], version=version))
        digests[str(version)] = small_cell(dataset="digits-p", architecture="net-p").digest
    assert digests["as it is"] == digests["1"]
    assert len(set(digests.values())) == 3


def test_manifest_record_and_show_say_what_made_them(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CellFolder(api.train(cell, tmp_path / "cell"))
    api.attack(folder.path, api.standard_attacks(cell.threat_model)[:1])
    manifest = json.loads(folder.manifest.read_text())
    known = [(one["kind"], one["name"], one["version"]) for one in manifest["extensions"]]
    assert known == [("architecture", "net-p", 1), ("data set", "digits-p", 1)]
    (record,) = (folder.path / "records").glob("*.safetensors")
    assert Record.read(record).metadata["extensions"] == manifest["extensions"]
    sha256 = manifest["extensions"][0]["sha256"]
    path = manifest["extensions"][0]["path"]
    assert f"architecture 'net-p' version 1: {path} (sha256 {sha256[:12]})" in describe(folder)
    assert "other code" not in describe(folder)
    edit(monkeypatch, registry.ARCHITECTURES, "net-p")
    assert f"(sha256 {sha256[:12]}); what is loaded now is other code: " in describe(folder)


def test_what_is_built_in_is_not_named(small_data: DataSet, tmp_path: Path) -> None:
    folder = CellFolder(api.train(small_cell(), tmp_path / "cell", data=small_data))
    manifest = json.loads(folder.manifest.read_text())
    assert "extensions" not in manifest
    assert "operations" not in manifest


class StopAfter:
    """Interrupts a training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted(15)


def test_other_code_does_not_go_on_with_a_training(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = CellFolder(tmp_path / "cell"), api.load_data_set("digits-p")

    def train(stop: StopAfter) -> None:
        Training(cell, folder, data, torch.device("cpu"), stop).run()

    with pytest.raises(Interrupted):
        train(StopAfter(3))
    with monkeypatch.context() as patch:
        edit(patch, registry.DATA_SETS, "digits-p")
        with pytest.raises(
            UserError, match=r"data set 'digits-p' of .*raise its `version`"
        ) as told:
            train(StopAfter(1000))
        assert "\n" not in str(told.value)
        assert str(folder.resume) in str(told.value)
    train(StopAfter(1000))
    assert folder.manifest.exists()


def test_a_state_that_does_not_say_is_continued(cell: Cell, tmp_path: Path) -> None:
    """It was written before states said so."""
    require_same_code({}, extensions_of(cell), tmp_path)


def test_parts_agree_on_code_and_not_on_where_it_lies(cell: Cell) -> None:
    before = as_metadata(extensions_of(cell))
    moved = {"extensions": [{**one, "path": "/elsewhere"} for one in before["extensions"]]}
    edited = {"extensions": [{**one, "sha256": "0"} for one in before["extensions"]]}
    assert identity_of(before) == identity_of(moved) != identity_of(edited)
    assert identity_of({}) != identity_of(before)
