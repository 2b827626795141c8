"""Models that were trained elsewhere, in configs and plans."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elsewhere
from conftest import GRID
from raat_core import api
from raat_core.cells.folder import CellFolder
from raat_core.data.dataset import DataSet, Split
from raat_core.errors import UserError
from raat_core.models.build import build_model_for
from raat_sweep.commands.plan import render
from raat_sweep.config.reading import read_config
from raat_sweep.cost.budget import estimate
from raat_sweep.cost.resources import resources_of_attacks, resources_of_training
from raat_sweep.monitor.sweep import sweep_status
from raat_sweep.numbers.curves import measure_figure
from raat_sweep.numbers.gaps import NO_EPOCHS
from raat_sweep.numbers.outcomes import Records
from raat_sweep.plan.plan import Plan
from raat_sweep.results.checksums import Reader
from raat_sweep.rules.build import build
from raat_sweep.rules.description import describe

MODEL_ZOO = """
from test_given_models import ToyZooNet
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel

entry = {"model": ToyZooNet, "gdrive_id": "x"}
model_dicts = {BenchmarkDataset.cifar_10: {ThreatModel.Linf: {"Wong2020Fast": entry}}}
"""
ENUMS = """
from enum import Enum

class BenchmarkDataset(Enum):
    cifar_10 = "cifar10"

class ThreatModel(Enum):
    Linf = "Linf"
"""


class ToyZooNet(nn.Module):
    """Registers constants as many networks of the zoo do."""

    mu: Tensor
    sigma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mu", torch.tensor([0.5] * 3).view(1, 3, 1, 1))
        self.register_buffer("sigma", torch.tensor([0.25] * 3).view(1, 3, 1, 1))
        self.fc = nn.Linear(3, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(((images - self.mu) / self.sigma).mean((2, 3)))
        return logits


def write_zoo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that looks like the zoo's."""
    (folder / "robustbench/model_zoo").mkdir(parents=True)
    (folder / "robustbench/__init__.py").write_text("")
    (folder / "robustbench/model_zoo/__init__.py").write_text(MODEL_ZOO)
    (folder / "robustbench/model_zoo/enums.py").write_text(ENUMS)
    monkeypatch.setitem(sys.modules, "test_given_models", sys.modules[__name__])
    for name in [name for name in sys.modules if name.split(".")[0] == "robustbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder.absolute()))


def few_images() -> DataSet:
    """In the shape of CIFAR-10."""
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.arange(64) % 10, 255)
    return DataSet(split, split, 10, "0" * 64)


MODELS = {**GRID, "models": ["mine"]}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Three files of one model beside two seeds of a method."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        torch.save(build_model_for("resnet-mini", "digits", seed).state_dict(), f"{seed}.pt")
    return {
        "results": "results/tiny",
        "recipes": {"default": {"epochs": 2, "decay_epochs": []}},
        "attacks": {"clean": {"kind": "clean", "title": "Clean"}},
        "models": {
            "mine": {"weights": [f"{n}.pt" for n in range(3)], "architecture": "resnet-mini"}
        },
        "items": {
            "tiny": {
                "kind": "table",
                "title": "T",
                "metrics": ["clean"],
                "grids": [{**MODELS, "seeds": [0, 1]}],
            }
        },
    }


def plan_of(config: dict[str, Any], reader: Reader = "run") -> Plan:
    return Plan(read_config(json.loads(json.dumps(config)), "test"), reader)


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        plan_of(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_several_files_are_one_row(config: dict[str, Any]) -> None:
    plan = plan_of(config)
    rows = [row for row in plan.items["tiny"].rows if row["method"] == "mine"]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert len({row["cell"] for row in rows}) == 3
    assert {row["architecture"] for row in rows} == {"ResNet-mini"}
    assert {row["variant"] for row in rows} == {""}
    assert [str(plan.weights[row["cell"]]) for row in rows] == ["0.pt", "1.pt", "2.pt"]
    said = " ".join(describe(plan, "tiny")["protocol"])
    assert "n = 2 seeds (0, 1)." in said
    assert "Weights trained elsewhere: mine (n = 3, sha256 " in said


def test_models_alone_need_no_methods(config: dict[str, Any]) -> None:
    config["items"]["tiny"]["grids"] = [{"datasets": ["digits"], "models": ["mine"]}]
    described = describe(plan_of(config), "tiny")
    assert described["selection"]["best"] == "Weights as given"
    assert not any(line.startswith(("Training", "n =")) for line in described["protocol"])


def test_a_model_stands_where_it_was_trained(config: dict[str, Any]) -> None:
    config["models"]["mine"] |= {"dataset": "digits", "architecture_title": "Their net"}
    grid = config["items"]["tiny"]["grids"][0]
    grid["datasets"] = ["digits", "cifar10"]
    rows = [row for row in plan_of(config).items["tiny"].rows if row["method"] == "mine"]
    assert {row["dataset"] for row in rows} == {"Digits"}
    assert {row["architecture"] for row in rows} == {"Their net"}
    grid["datasets"] = ["cifar10"]
    assert "is of digits, which is none of the grid's data sets" in refused(config)


def test_where_a_label_or_a_file_is_wrong_a_plan_says_so(config: dict[str, Any]) -> None:
    grid = config["items"]["tiny"]["grids"][0]
    grid["models"] = ["min"]
    assert "models = 'min'; did you mean 'mine'?" in refused(config)
    grid["models"] = ["mine"]
    config["models"]["PGD-AT"] = config["models"]["mine"]
    assert "models.PGD-AT: there is a method of this label" in refused(config)
    del config["models"]["PGD-AT"]
    grid["vary"] = {"eta": [1, 2]}
    assert "models (mine) have no settings of methods" in refused(config)
    del grid["vary"]
    config["models"]["mine"]["weights"] = ["0.pt", "missing.pt"]
    assert f"models.mine: no such file: {Path('missing.pt').absolute()}" in refused(config)
    config["models"]["mine"]["architecture"] = "resnet-mni"
    assert "models.mine: architecture = 'resnet-mni': unknown architecture" in refused(config)
    config["models"]["mine"] = {"weights": "0.pt", "architecture": "preact-resnet-18-normalised"}
    assert "models.mine: architecture = 'preact-resnet-18-normalised': takes images of 3" in (
        refused(config)
    )
    config["methods"] = {"G": {"name": "given", "sha256": "0" * 64}}
    assert "methods.G.name = 'given': belongs under `models`" in refused(config)


def test_the_zoo_needs_its_package_and_a_file(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config["models"]["mine"] = {"robustbench": "Wong2020Fast"}
    config["items"]["tiny"]["grids"][0]["datasets"] = ["cifar10"]
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        said = refused(config)
    assert "needs the package robustbench, which is not installed here: pip install" in said
    write_zoo(Path("packages"), monkeypatch)
    said = refused(config)
    assert "no such file: " in said
    assert "models/cifar10/Linf/Wong2020Fast.pt; where there is a network, python -c" in said
    # As its files are: constants of the normalisation are not in them, DataParallel's prefix is.
    model = ToyZooNet()
    tensors = {f"module.{n}": t for n, t in model.state_dict().items() if n not in ("mu", "sigma")}
    Path("models/cifar10/Linf").mkdir(parents=True)
    torch.save({"state_dict": tensors}, "models/cifar10/Linf/Wong2020Fast.pt")
    plan = plan_of(config)
    (row,) = [row for row in plan.items["tiny"].rows if row["method"] == "mine"]
    assert (row["dataset"], row["architecture"]) == ("CIFAR-10", "Wong2020Fast")
    cell = plan.cells[row["cell"]]
    assert cell.name.startswith("cifar10_Wong2020Fast-")
    folder = api.train(cell, Path("c"), weights=plan.weights[cell.name], data=few_images())
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(api.load(folder)(images), model.eval()(images))


def test_a_file_is_read_once_until_it_changes(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(plan_of(config).cells)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        assert list(plan_of(config).cells) == names
    torch.save(build_model_for("resnet-mini", "digits", 7).state_dict(), "1.pt")
    # Jobs plan what they were submitted for, and refuse the file when they read it.
    kept = Path("results/tiny/weights.json").read_bytes()
    assert list(plan_of(config, "job").cells) == names
    assert len(set(plan_of(config, "other").cells) - set(names)) == 1
    assert Path("results/tiny/weights.json").read_bytes() == kept
    assert len(set(plan_of(config).cells) - set(names)) == 1
    Path("results/tiny/weights.json").write_text("damaged")
    assert len(set(plan_of(config).cells) - set(names)) == 1


def test_a_file_that_is_gone_is_missed_only_before_it_was_taken(config: dict[str, Any]) -> None:
    plan = plan_of(config)
    for name, path in plan.weights.items():
        api.train(plan.cells[name], Path("results/tiny/cells") / name, weights=path)
    Path("0.pt").rename("elsewhere.pt")
    assert list(plan_of(config).cells) == list(plan.cells)
    cell = CellFolder(Path("results/tiny/cells") / next(iter(plan.weights)))
    cell.manifest.unlink()
    assert "models.mine: no such file" in refused(config)


def test_nothing_is_trained_in_plans_and_watched_as_such(config: dict[str, Any]) -> None:
    config["items"]["tiny"]["grids"] = [{"datasets": ["digits"], "models": ["mine"]}]
    config["threat_models"] = {"linf": {"norm": "linf", "epsilon": 0.5, "step_size": 0.01}}
    plan = plan_of(config)
    assert not [note for note in plan.notes if "training attack" in note]
    budget = estimate(plan)
    attacks = budget.total.cost.flop
    assert 0 < attacks < 1e11
    assert "0/3" in render(budget)
    assert {kind for _, _, kind in budget.paces} == {"pgd"}
    (name, *_), (cell, *_) = plan.cells, plan.cells.values()
    assert resources_of_training(cell).gpu == 0
    assert resources_of_training(cell, weights=300_000_000).mem_mb == 2000 + 8 * 300
    (chosen, *_) = plan.jobs.lists.values()
    assert resources_of_attacks(cell, chosen.attacks).gpu == 0
    status = sweep_status(plan, Path("none"))
    assert {(row.state, row.epochs) for row in status.rows} == {("waiting", 0)}
    folder = Path("results/tiny/cells") / name
    api.train(cell, folder, weights=plan.weights[name])
    (row,) = [row for row in sweep_status(plan, Path("none")).rows if row.cell == name]
    assert row.epoch == row.epochs == 0
    assert "1/3" in render(estimate(plan))


def test_the_radius_of_attacks_varies_on_models_too(config: dict[str, Any]) -> None:
    grid = config["items"]["tiny"]["grids"][0]
    grid["vary"] = {"attack.epsilon": ["4/255", "8/255"]}
    config["attacks"]["pgd"] = {"kind": "pgd", "title": "P", "steps": 20}
    config["items"]["tiny"]["metrics"] = ["pgd"]
    rows = [r for r in plan_of(config).items["tiny"].rows if r["method"].startswith("mine")]
    assert {row["method"] for row in rows} == {
        "mine (attack.epsilon = 4/255)",
        "mine (attack.epsilon = 8/255)",
    }
    assert len({row["cell"] for row in rows}) == 3
    assert len({row["record"] for row in rows}) == 2


def test_a_curve_of_given_weights_is_a_gap_with_its_reason(config: dict[str, Any]) -> None:
    panel = {"title": "P", "x": "epoch", "x_label": "Epoch", "metrics": ["clean"]}
    grids = [{"datasets": ["digits"], "models": ["mine"]}]
    config["items"] = {
        "f": {"kind": "figure", "title": "F", "panels": {"a": {**panel, "grids": grids}}}
    }
    plan = plan_of(config)
    for name, path in plan.weights.items():
        api.train(plan.cells[name], Path("results/tiny/cells") / name, weights=path)
    described = describe(plan, "f")
    records = Records(Path("results/tiny/cells"))
    points = measure_figure(described["rows"], described["panels"], records)
    assert set(points["gap"]) == {NO_EPOCHS}
    build(described, with_gaps=False)
    assert NO_EPOCHS in Path("results/tiny/f.csv").read_text()


def test_the_network_of_a_file_is_not_run_while_planning(config: dict[str, Any]) -> None:
    Path("net.py").write_text(elsewhere.NETWORK + "\nraise RuntimeError('run')\n")
    config["models"]["mine"]["architecture"] = "net.py:SmallNet"
    plan = plan_of(config)
    (title,) = {r["architecture"] for r in plan.items["tiny"].rows if r["method"] == "mine"}
    assert title == "SmallNet"
