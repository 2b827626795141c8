"""What RobustBench is given: every field of its JSON, an entry of its zoo, the same accuracies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import add_record, random_cell

from conftest import small_cell
from raat_core import api
from raat_core.cells.evaluations import AutoAttackEvaluation, CleanEvaluation, EvaluationList
from raat_core.cells.folder import CellFolder
from raat_core.data.dataset import DataSet, Split
from raat_core.evaluation.run import evaluate_cell
from raat_core.exporting import robustbench
from raat_core.randomness import derive_seed

FIELDS = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue",
    "architecture", "eps", "clean_acc", "reported", "corruptions_acc", "corruptions_acc_3d",
    "corruptions_mce", "corruptions_mce_3d", "autoattack_acc", "footnote",
)  # fmt: skip
"""Of `robustbench.utils.ModelInfo`, version 1.1.1."""
CLEAN: dict[str, object] = {"kind": "clean"}
AUTOATTACK: dict[str, object] = {
    "kind": "autoattack", "version": "standard", "norm": "linf", "epsilon": "0.15",
}  # fmt: skip
PGD: dict[str, object] = {
    "kind": "pgd", "norm": "linf", "epsilon": "0.15", "objective": "margin", "step_size": "0.05",
    "steps": 10,
}  # fmt: skip
BY_ROBUSTBENCH = find_spec("robustbench") is not None and find_spec("autoattack") is not None


def exported_info(cell: CellFolder, to: Path) -> dict[str, Any]:
    api.export(cell.path, to, "robustbench", name="Mine2026Robust")
    (path,) = to.glob("model_info/*/*/Mine2026Robust.json")
    info: dict[str, Any] = json.loads(path.read_text())
    return info


def test_json_has_every_field_and_what_records_say(tmp_path: Path) -> None:
    cell = random_cell(tmp_path, "resnet-mini", "cifar10")
    add_record(cell, "best_clean", CLEAN, [True] * 9 + [False])
    add_record(
        cell,
        "best_autoattack",
        AUTOATTACK,
        [True] * 5 + [False] * 5,
        details={"broken_by": [0] * 10},
    )
    info = exported_info(cell, tmp_path / "to")
    assert {*FIELDS, "unreliable"} == set(info)
    assert info["dataset"] == "cifar10"
    assert info["eps"] == "0.15"
    assert (info["clean_acc"], info["autoattack_acc"]) == ("90.00", "50.00")
    assert info["reported"] == "50.00"
    assert info["unreliable"] is False
    assert info["additional_data"] is False
    assert "Uses eps = 0.15 instead of 8/255." in info["footnote"]
    assert "test images" not in info["footnote"]
    assert (tmp_path / "to/models/cifar10/Linf/Mine2026Robust.pt").is_file()


def test_flags_and_attacks_that_found_more_are_told(tmp_path: Path) -> None:
    cell = random_cell(tmp_path, "resnet-mini", "cifar10")
    attacked = [True] * 4 + [False] * 2
    add_record(cell, "best_clean", CLEAN, [True] * 5 + [False] * 5)
    add_record(cell, "best_autoattack", AUTOATTACK, attacked, flags=["zero gradients"])
    add_record(cell, "best_pgd-10", PGD, [False] + [True] * 9)
    add_record(cell, "best_elsewhere", {**PGD, "epsilon": "0.3"}, [False] * 10)
    info = exported_info(cell, tmp_path / "to")
    assert info["unreliable"] is True
    assert info["autoattack_acc"] == "66.67"
    assert info["external"] == info["reported"] == "50.00"
    assert info["clean_acc"] == "83.33"  # Of AutoAttack's six images.
    for said in ("Measured on 6 of 10 test images.", "best_pgd-10", "zero gradients"):
        assert said in info["footnote"]
    assert "best_elsewhere" not in info["footnote"]


def test_what_is_not_known_is_not_claimed(tmp_path: Path) -> None:
    cell = random_cell(tmp_path, "resnet-mini", "digits")
    info = exported_info(cell, tmp_path / "none")
    assert info["clean_acc"] is info["reported"] is info["autoattack_acc"] is None
    assert "unreliable" not in info
    assert "RobustBench has no data set digits." in info["footnote"]
    assert not (tmp_path / "none/zoo.py").exists()
    assert "there is no `zoo.py`" in (tmp_path / "none/README.md").read_text()
    add_record(cell, "best_pgd-10", PGD, [True] * 9 + [False])
    info = exported_info(cell, tmp_path / "pgd")
    assert (info["reported"], info["autoattack_acc"]) == ("90.00", None)
    assert "no record of the standard AutoAttack" in info["footnote"]
    add_record(cell, "best_autoattack", AUTOATTACK, [True] * 10)  # Older than flags are kept.
    assert "unreliable" not in exported_info(cell, tmp_path / "old")


def cut_as_robustbench_does(weights: dict[str, int], part: str) -> dict[str, int]:
    """As `robustbench.utils.rm_substr_from_state_dict` is documented to cut names."""
    return {name[len(part) :] if part in name else name: each for name, each in weights.items()}


def test_names_survive_how_robustbench_cuts_them() -> None:
    names = ("conv1.weight", "model.conv1.weight", "module.x", "a.model.b", "module.model.c")
    weights = {name: place for place, name in enumerate(names)}
    stored = robustbench.stored(weights)
    loaded = cut_as_robustbench_does(cut_as_robustbench_does(stored, "module."), "model.")
    assert loaded == weights
    restored = eval(robustbench.RESTORED, {"weights": stored})
    assert restored == weights


BENCHMARK = """
import json, sys
from functools import partial
import torch
import robustbench.data
from robustbench import eval as evaluation
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
from robustbench.utils import ModelInfo

sys.modules["raat_core"] = None
sys.path.insert(0, ".")
torch.set_num_threads(1)
shown = torch.load("../shown.pt")
# Its own loader downloads the whole data set.
loader = lambda count, *more: (shown["images"][:count], shown["labels"][:count])
robustbench.data._clean_dataset_loaders[BenchmarkDataset.cifar_10] = loader
evaluation.AutoAttack = partial(evaluation.AutoAttack, seed=shown["seed"])
import zoo
model = zoo.load()
clean, robust = evaluation.benchmark(
    model, n_examples=64, dataset=zoo.DATASET, threat_model=zoo.THREAT, eps=zoo.EPS,
    batch_size=64, model_name=zoo.NAME, to_disk=True,
)
print(json.dumps({"clean": 100 * clean, "robust": 100 * robust}))
"""


def coloured_digits() -> DataSet:
    """Digits of three channels, 300 to train on and 64 to test; for networks of any image size."""
    digits = api.load_data_set("digits")

    def coloured(split: Split, count: int) -> Split:
        some = split.take(torch.arange(count))
        return replace(some, images=some.images.repeat(1, 3, 1, 1))

    return DataSet(coloured(digits.train, 300), coloured(digits.test, 64), digits.classes)


@pytest.mark.skipif(not BY_ROBUSTBENCH, reason="robustbench and its autoattack are not here")
def test_robustbench_finds_the_same_accuracies(tmp_path: Path) -> None:
    data = coloured_digits()
    ball: dict[str, Any] = {"norm": "linf", "epsilon": 0.05}
    cell = small_cell(dataset="cifar10", threat_model={**ball, "step_size": 0.02, "steps": 2})
    folder = CellFolder(api.train(cell, tmp_path / "cell", device="cpu", data=data))
    attacks = (CleanEvaluation(), AutoAttackEvaluation(**ball, batch_size=64))
    found = evaluate_cell(folder, EvaluationList(attacks=attacks), data, torch.device("cpu"))
    info = exported_info(folder, tmp_path / "to")
    images, labels = data.test.batch(torch.arange(64))
    shown = {"images": images.contiguous(), "labels": labels}
    torch.save({**shown, "seed": derive_seed(0, "autoattack") % 2**31}, tmp_path / "shown.pt")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BENCHMARK],
        cwd=tmp_path / "to",
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    clean, robust = (entry["accuracy"] for entry in found["attacks"])
    assert theirs == {"clean": pytest.approx(clean), "robust": pytest.approx(robust)}
    assert 5 < robust < clean
    (path,) = (tmp_path / "to").glob("model_info/*/*/*.json")
    written = json.loads(path.read_text())  # By RobustBench's own `update_json`, over ours.
    assert float(written["clean_acc"]) == float(info["clean_acc"])
    assert float(written["autoattack_acc"]) == float(info["autoattack_acc"])
    assert set(written) == set(info)
