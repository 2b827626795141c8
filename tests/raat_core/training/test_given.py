"""Weights that were trained elsewhere: read in all ways that people save them, or refused."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import elsewhere
from conftest import small_cell
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import standard_attacks
from raat_core.cells.folder import CellFolder
from raat_core.cells.given import GivenModel
from raat_core.cells.manifest import read_manifest
from raat_core.cells.transfer import needed_by
from raat_core.commands.cli import main
from raat_core.commands.show import describe
from raat_core.commands.show_record import command_of
from raat_core.cost.flop import training_flop
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.files.checksums import file_checksum
from raat_core.interface.registry import resolve_attack
from raat_core.models.build import build_model_for
from raat_core.validation import parse

THREAT = {"norm": "linf", "epsilon": "0.1", "step_size": "0.025"}


@pytest.fixture(scope="session")
def model() -> nn.Module:
    return elsewhere.trained()


@pytest.fixture(scope="session")
def entries(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return elsewhere.save_five_ways(model, tmp_path_factory.mktemp("elsewhere"))


def cell_of(entry: dict[str, Any], **changes: Any) -> Cell:
    given = parse(GivenModel, entry, "test")
    (method,) = given.methods(file_checksum)
    spec = {"dataset": "digits", **given.network({}), "method": method, "threat_model": THREAT}
    return api.cell({**spec, **changes})


def taken(entry: dict[str, Any], folder: Path) -> CellFolder:
    cell = cell_of(entry)
    api.train(cell, folder / cell.name, weights=Path(str(entry["weights"])))
    return CellFolder(folder / cell.name)


def outcomes(folder: CellFolder) -> list[list[int]]:
    attacks = standard_attacks(small_cell(threat_model=THREAT).threat_model)[:2]
    found = api.attack(folder.path, attacks)
    records = [Record.read(folder.record(one["record"])) for one in found["attacks"]]
    return [record.prediction.tolist() for record in records]


def test_five_ways_to_save_a_model_are_one_model(
    model: nn.Module, entries: dict[str, Any], tmp_path: Path
) -> None:
    images, labels = elsewhere.digits()
    with torch.no_grad():
        own = model((images[1437:] - elsewhere.MEAN) / elsewhere.STD).argmax(1)
    assert (own == labels[1437:]).float().mean() > 0.8
    found = {name: outcomes(taken(entry, tmp_path)) for name, entry in entries.items()}
    first = found["plain"]
    test = api.load_data_set("digits").test
    with torch.no_grad():
        every = model((test.images / 16 - elsewhere.MEAN) / elsewhere.STD).argmax(1)
    assert first[0] == every.tolist()
    assert first[1] != first[0]
    for name, predictions in found.items():
        assert predictions == first, name


def test_the_manifest_and_show_say_where_weights_are_from(
    entries: dict[str, Any], tmp_path: Path
) -> None:
    folder = taken(entries["checkpoint"], tmp_path)
    manifest = read_manifest(folder)
    given = manifest["given"]
    assert given["path"] == entries["checkpoint"]["weights"]
    assert (given["key"], given["prefix"]) == ("state_dict", "module.")
    assert "warning" not in given
    assert manifest["data_sha256"] == api.load_data_set("digits").sha256
    assert manifest["best"]["chosen_by"] == "given"
    assert not folder.history.exists()
    (network,) = manifest["extensions"]
    source = Path(entries["plain"]["weights"]).parent / "net.py"
    assert network["path"] == str(source)
    assert network["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    outcomes(folder)
    (path, *_) = sorted((folder.path / "records").glob("*.safetensors"))
    command = command_of(Record.read(path).metadata, folder)
    assert "--plugin" not in command, "the spec says where the network is"
    assert main(shlex.split(command)[4:]) == 0
    said = describe(folder)
    assert "not trained here" in said
    assert "recipe" not in said
    assert "under the key 'state_dict'; names changed by 'module.'" in said


def test_how_others_are_trained_is_no_part_of_a_given_cell(entries: dict[str, Any]) -> None:
    plain = cell_of(entries["plain"])
    others = {
        "seed": 7,
        "recipe": {"epochs": 3},
        "selection": {"by": "last"},
        "precision": "bf16",
        "threat_model": {**THREAT, "steps": 3},
    }
    assert cell_of(entries["plain"], **others) == plain
    assert api.cell(plain.to_json()) == plain
    assert set(plain.to_json()) == {"dataset", "architecture", "method", "threat_model", "network"}
    assert plain.name.startswith("digits_SmallNet-")
    assert f"_linf_given-sha256-{plain.to_json()['method']['sha256'][:8]}_" in plain.name
    assert training_flop(plain) == 0
    digests = {cell_of(entry).digest for entry in entries.values()}
    assert len(digests) == len(entries), "five files are five cells"
    assert cell_of({**entries["plain"], "rename": {"x.": "y."}}).digest not in digests
    assert (
        cell_of(entries["plain"], threat_model={**THREAT, "epsilon": "0.2"}).digest not in digests
    )


def test_a_transfer_attack_on_given_weights_names_its_source(entries: dict[str, Any]) -> None:
    cell = cell_of(entries["plain"])
    attack = {"kind": "transfer", **THREAT, "steps": 2}
    with pytest.raises(ValueError, match="source = 'next-seed': given weights have none"):
        needed_by(resolve_attack(attack), cell)
    recipe = small_cell().recipe
    source = {"method": "pgd-at", "architecture": "resnet-mini", "recipe": recipe}
    (need,) = needed_by(resolve_attack({**attack, "source": source}), cell).values()
    assert need.cell.network is None
    assert need.cell.trains


def test_a_finished_cell_needs_its_file_no_more(entries: dict[str, Any], tmp_path: Path) -> None:
    cell = cell_of(entries["plain"])
    folder = taken(entries["plain"], tmp_path)
    before = folder.manifest.read_bytes()
    api.train(cell, folder.path)
    assert folder.manifest.read_bytes() == before


def resnet(path: Path, **content: Any) -> dict[str, Any]:
    torch.save(content["content"], path)
    return {"weights": str(path), "architecture": "resnet-mini", **content.get("more", {})}


def weights() -> dict[str, torch.Tensor]:
    return dict(build_model_for("resnet-mini", "digits", 0).state_dict())


def refusal(entry: dict[str, Any], tmp_path: Path) -> str:
    with pytest.raises(UserError) as caught:
        taken(entry, tmp_path)
    assert not list(tmp_path.glob("*/manifest.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_does_not_fit_is_listed_and_capped(tmp_path: Path) -> None:
    content = weights()
    del content["linear.bias"]
    content["head.bias"] = torch.zeros(10)
    content["conv1.weight"] = content["conv1.weight"][:8]
    said = refusal(resnet(tmp_path / "a.pt", content=content), tmp_path)
    assert (
        "missing: linear.bias; unexpected: head.bias; of another shape: conv1.weight is 8×1×3×3"
        in (said)
    )
    said = refusal(resnet(tmp_path / "b.pt", content={"a": torch.zeros(1)}), tmp_path)
    assert "more; unexpected: a" in said
    assert len(said) < 500


def test_names_are_mapped_left_out_and_kept(tmp_path: Path) -> None:
    own = weights()
    content = {name.replace("linear.", "fc."): tensor for name, tensor in own.items()}
    content = {n: t for n, t in content.items() if not n.endswith("num_batches_tracked")}
    content["extra.head"] = torch.zeros(3)
    del content["bn1.running_mean"]
    more = {"rename": {"fc.": "linear."}, "ignore": ["extra.*"], "optional": ["bn1.running_mean"]}
    folder = taken(resnet(tmp_path / "a.pt", content=content, more=more), tmp_path)
    given = read_manifest(folder)["given"]
    assert given["kept"] == ["bn1.running_mean"]
    assert given["ignored"] == ["extra.head"]
    found = api.load(folder.path).state_dict()
    assert torch.equal(found["linear.weight"], own["linear.weight"])


def test_weights_under_several_keys_are_not_guessed(tmp_path: Path) -> None:
    content = {"model": weights(), "model_ema": weights()}
    said = refusal(resnet(tmp_path / "a.pt", content=content), tmp_path)
    assert "under several keys: 'model', 'model_ema'; say which: key" in said
    entry = resnet(tmp_path / "a.pt", content=content, more={"key": "ema"})
    assert "key = 'ema'" in refusal(entry, tmp_path)
    taken(resnet(tmp_path / "a.pt", content=content, more={"key": "model_ema"}), tmp_path)


class Pickled(nn.Module):
    """Saved whole, it could only be read by running code."""


def test_pickled_objects_programs_and_damage_are_refused(tmp_path: Path) -> None:
    torch.save(Pickled(), tmp_path / "a.pt")
    entry = {"weights": str(tmp_path / "a.pt"), "architecture": "resnet-mini"}
    said = refusal(entry, tmp_path)
    assert "Pickled" in said
    assert "torch.save(model.state_dict(), FILE)" in said
    (tmp_path / "a.pt").write_bytes(b"nothing of the kind")
    assert "no whole file of torch.save nor of safetensors" in refusal(entry, tmp_path)
    torch.save(weights(), tmp_path / "b.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "b.pt").read_bytes()[:-3000])
    assert "no whole file" in refusal(entry, tmp_path)
    torch.save([1, 2], tmp_path / "a.pt")
    assert "it is a list" in refusal(entry, tmp_path)


def test_a_file_that_was_replaced_is_refused(tmp_path: Path) -> None:
    entry = resnet(tmp_path / "a.pt", content=weights())
    cell = cell_of(entry)
    resnet(tmp_path / "a.pt", content={**weights(), "linear.bias": torch.ones(10)})
    with pytest.raises(UserError, match="it was replaced since the cell was planned"):
        api.train(cell, tmp_path / cell.name, weights=tmp_path / "a.pt")
    with pytest.raises(UserError, match="say where that file is: --weights FILE"):
        api.train(cell, tmp_path / cell.name)
    with pytest.raises(UserError, match="is trained, and takes no file"):
        api.train(small_cell(), tmp_path / "other", weights=tmp_path / "a.pt")


def test_logits_must_be_finite_and_as_many_as_classes(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net(channels, classes, more=0):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes + more))\n"
        "def nothing():\n    return 3\n"
        "def fails():\n    raise RuntimeError('no such thing')\n"
    )
    architecture = f"{tmp_path / 'nets.py'}:"

    def entry(function: str, classes: int, value: float, **arguments: int) -> dict[str, Any]:
        path = tmp_path / f"{classes}.pt"
        torch.save(
            {"1.weight": torch.full((classes, 64), value), "1.bias": torch.zeros(classes)}, path
        )
        named = {"architecture": architecture + function, "arguments": arguments}
        return {"weights": str(path), **named}

    assert "makes [12] of an image, must be [10]" in refusal(
        entry("net", 12, 0.0, more=2), tmp_path
    )
    assert "not finite" in refusal(entry("net", 10, float("nan")), tmp_path)
    folder = taken(entry("net", 10, 0.0), tmp_path)
    assert "10." in read_manifest(folder)["given"]["warning"]
    assert "warning: only" in describe(folder)
    said = entry("nothing", 10, 0.0)
    with pytest.raises(UserError, match="returned int"):
        api.train(cell_of(said), tmp_path / "x", weights=Path(said["weights"]))
    said = entry("fails", 10, 0.0)
    with pytest.raises(UserError, match="no such thing"):
        api.train(cell_of(said), tmp_path / "y", weights=Path(said["weights"]))
    said = entry("net", 10, 0.0, depth=3)
    with pytest.raises(UserError, match=r"called with \(channels=1, classes=10, depth=3\)"):
        api.train(cell_of(said), tmp_path / "z", weights=Path(said["weights"]))
    said = entry("missing", 10, 0.0)
    with pytest.raises(UserError, match="no function or class 'missing'"):
        api.train(cell_of(said), tmp_path / "v", weights=Path(said["weights"]))


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ({"weights": "a.pt"}, ["architecture: is missing"]),
        ({"architecture": "resnet-mini"}, ["weights: is missing"]),
        ({"weights": [], "architecture": "resnet-mini"}, ["weights", "at least 1"]),
        ({"weights": "a", "architecture": "resnet-min"}, ["resnet-min'", "did you mean"]),
        ({"weights": "a", "architecture": "net:"}, ["must be like package.module:function"]),
        ({"weights": "a", "architecture": "no_such_module:f"}, ["no module 'no_such_module'"]),
        ({"weights": "a", "architecture": "no/such.py:f"}, ["no such file", "no/such.py"]),
        (
            {"weights": "a", "architecture": "resnet-mini", "arguments": {"a": 1}},
            ["arguments: are of a function"],
        ),
        (
            {"weights": "a", "architecture": "resnet-mini", "normalise": {"mean": [0], "std": [0]}},
            ["normalise", "std = [0.0]: must be above 0"],
        ),
        (
            {
                "weights": "a",
                "architecture": "resnet-mini",
                "normalise": {"mean": [128], "std": [1]},
            },
            ["pixels in [0, 1], not of 0 to 255"],
        ),
        ({"weights": "a", "robustbench": "Standard"}, ["weights: is what robustbench says"]),
        ({"robustbench": {"name": "x", "dataset": "imagenet"}}, ["dataset", "cifar10"]),
    ],
)
def test_bad_entries_get_one_clear_line(entry: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises((UserError, ValueError)) as caught:
        parse(GivenModel, entry, "test").network({})
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_the_same_file_twice_is_refused(entries: dict[str, Any], tmp_path: Path) -> None:
    path = entries["plain"]["weights"]
    (tmp_path / "copy.pt").write_bytes(Path(path).read_bytes())
    entry = {**entries["plain"], "weights": [path, str(tmp_path / "copy.pt")]}
    given = parse(GivenModel, entry, "test")
    with pytest.raises(ValueError, match="n would count it twice"):
        given.methods(file_checksum)


def test_without_any_config(
    entries: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = entries["half"]
    attacks = '[{"kind": "clean"}, {"kind": "pgd", "norm": "linf", "epsilon": 0.1, '
    attacks += '"step_size": 0.025, "steps": 2}]'
    given = ["--weights", entry["weights"], "--architecture", entry["architecture"]]
    more = ["--given", json.dumps({"normalise": entry["normalise"]}), "--dataset", "digits"]
    command = ["attack", *given, *more, "--attacks", attacks, "--threads", "1"]
    assert main([*command, "--threat-model", "linf:0.1"]) == 0
    said = capsys.readouterr().out
    assert "clean: " in said
    assert "not trained here" in said
    (folder,) = Path("results/cells").iterdir()
    cell = cell_of(entry)
    assert folder.name == cell.name
    assert len(list((folder / "records").glob("*.safetensors"))) == 2
    # What it wrote is a cell like any other.
    assert main(["attack", str(folder), "--attacks", attacks]) == 0
    assert main(["show", str(folder)]) == 0
    assert main([*command, "--threat-model", json.dumps(THREAT), "--folder", "again"]) == 0
    assert (Path("again") / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "weights: is missing"),
        (["--weights", "a.pt"], "architecture: is missing"),
        (["--weights", "a.pt", "--architecture", "resnet-mini"], "--dataset is missing"),
        (
            ["--weights", "a.pt", "--architecture", "resnet-mini", "--dataset", "digits"],
            "--threat-model is missing",
        ),
        (
            ["--weights", "a.pt", "--architecture", "resnet-mini", "--dataset", "digits",
             "--threat-model", "linf:8/255"],
            "cannot read a.pt: No such file",
        ),
        (
            ["--weights", "a.pt", "--architecture", "resnet-mini", "--dataset", "digits",
             "--threat-model", "l3:8/255"],
            "norm = 'l3'",
        ),
        (["folder", "--weights", "a.pt"], "--weights: is for a model that has no cell's folder"),
    ],
)  # fmt: skip
def test_what_the_command_lacks_is_said_in_a_line(
    arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["attack", *arguments]) == 2
    said = capsys.readouterr().err
    assert part in said
    assert "Traceback" not in said
