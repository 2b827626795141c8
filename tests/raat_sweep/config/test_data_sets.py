"""Data sets in a config: those of the catalogue, and image folders of your own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import TOY_DISTILLATION
from raat_core.cells.catalogue import DATA_SETS
from raat_core.errors import UserError
from raat_core.interface.plugins import load_plugin
from raat_core.validation import parse
from raat_sweep.config.config import Config
from raat_sweep.config.reading import read_config
from raat_sweep.cost.resources import resources_of_training
from raat_sweep.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[3]


def make_images(path: Path, value: int) -> str:
    """Two classes of grey images: three to train on and two to test."""
    for split, count in (("train", 3), ("test", 2)):
        for label, kind in enumerate(("ant", "zebra")):
            folder = path / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.full((16, 16), value + label, np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(path)


def config(tmp_path: Path, *datasets: str, **keys: Any) -> dict[str, Any]:
    grid = {
        "datasets": list(datasets),
        "architectures": ["resnet-18"],
        "methods": ["PGD-AT"],
        "seeds": [0],
    }
    table = {"kind": "table", "title": "T", "metrics": ["clean"], "grids": [grid]}
    return {"data": str(tmp_path / "data"), "items": {"t": table}, **keys}


def test_the_data_sets_of_the_paper_are_planned_without_their_files(tmp_path: Path) -> None:
    names = ["cifar10", "cifar100", "tiny-imagenet"]
    plan = Plan(read_config(config(tmp_path, "digits", *names), "test"))
    assert plan.prepared == names
    assert plan.data == tmp_path / "data"
    assert not plan.data.exists()
    rows = [row["dataset"] for row in plan.items["t"].rows]
    assert rows == ["Digits", "CIFAR-10", "CIFAR-100", "Tiny-ImageNet"]


def test_an_image_folder_is_planned_by_what_is_in_it(tmp_path: Path) -> None:
    first, second = (make_images(tmp_path / str(value), value) for value in (1, 2))
    ball = {"epsilon": "4/255", "step_size": "1/255"}
    threats = {"linf": {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"}}
    threats["linf"]["datasets"] = {"mine": ball}  # type: ignore[assignment]

    def plan(path: str, size: int = 16) -> Plan:
        datasets = {"mine": {"path": path, "image_size": size}}
        wanted = config(tmp_path, "mine", datasets=datasets, threat_models=threats)
        return Plan(read_config(wanted, "test"))

    plans = [plan(first), plan(first), plan(second), plan(first, 8)]
    names = [next(iter(found.cells)) for found in plans]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    (cell,) = plans[0].cells.values()
    assert cell.image_folder is not None
    assert cell.dataset == cell.image_folder.key
    assert (cell.image_folder.classes, cell.image_folder.train_size) == (2, 6)
    assert str(cell.threat_model.epsilon * 255) == "4"
    assert plans[0].prepared == []
    assert plans[0].items["t"].rows[0]["dataset"] == "mine"
    assert resources_of_training(cell).runtime > 0


def test_grey_images_keep_one_channel_where_the_config_says_so(tmp_path: Path) -> None:
    entry = {"path": make_images(tmp_path / "images", 1), "image_size": 16}
    cells = []
    for channels in ({}, {"channels": 3}, {"channels": 1}):
        wanted = config(tmp_path, "mine", datasets={"mine": {**entry, **channels}})
        (cell,) = Plan(read_config(wanted, "test")).cells.values()
        cells.append(cell)
    assert cells[0] == cells[1]
    assert DATA_SETS[cells[0].dataset].image_shape == (3, 16, 16)
    assert DATA_SETS[cells[2].dataset].image_shape == (1, 16, 16)
    assert "channels" not in cells[0].to_json()["image_folder"]
    assert cells[2].to_json()["image_folder"]["channels"] == 1
    assert cells[2].name != cells[0].name


BAD: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"datasets": {"mine": {"path": "x", "image_size": 8, "channels": 2}}},
        ["datasets.mine.channels = 2", "1 or 3"],
    ),
    ({"datasets": {"digits": {"path": "x", "image_size": 8}}}, ["datasets.digits", "none of"]),
    ({"datasets": {"a b": {"path": "x", "image_size": 8}}}, ["datasets.a b", "letters, digits"]),
    ({"datasets": {"mine": {"path": "x"}}}, ["datasets.mine.image_size: is missing"]),
    ({"datasets": {"other": {"path": "x", "image_size": 8}}}, ["unknown data set", "other"]),
    ({"datasets": {"mine": {"path": "/nowhere", "image_size": 8}}}, ["/nowhere/train", "layout"]),
    (
        {"threat_models": {"linf": {"norm": "linf", "epsilon": 0.1, "step_size": 0.1,
                                    "datasets": {"cifar": {"epsilon": 0.1, "step_size": 0.1}}}}},
        ["threat_models.linf.datasets = 'cifar'", "did you mean 'cifar10'?"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "parts"), BAD)
def test_mistakes_are_named(keys: dict[str, Any], parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Plan(read_config(config(tmp_path, "mine", **keys), "test"))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_more_test_images_than_an_image_folder_has(tmp_path: Path) -> None:
    datasets = {"mine": {"path": make_images(tmp_path / "images", 1), "image_size": 16}}
    attacks = {"clean": {"kind": "clean", "title": "C", "samples": 5}}
    wanted = config(tmp_path, "mine", datasets=datasets, attacks=attacks)
    with pytest.raises(UserError, match=r"samples = 5: must be at most 4, .* items\.t asks for"):
        Plan(read_config(wanted, "test"))


def test_where_data_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAAT_DATA", raising=False)
    assert Plan(parse(Config, {}, "test")).data == Path("data")
    monkeypatch.setenv("RAAT_DATA", "/shared/data")
    assert Plan(parse(Config, {}, "test")).data == Path("/shared/data")
    assert Plan(parse(Config, {"data": "here"}, "test")).data == Path("here")


def test_planning_an_image_folder_needs_no_torch(tmp_path: Path) -> None:
    path = make_images(tmp_path / "images", 1)
    wanted = config(tmp_path, "mine", datasets={"mine": {"path": path, "image_size": 16}})
    code = (
        "import sys; from raat_sweep.config.reading import read_config;"
        "from raat_sweep.plan.plan import Plan;"
        f"plan = Plan(read_config({wanted!r}, 'test'));"
        "sys.exit('torch' in sys.modules or len(plan.cells) != 1)"
    )
    path_of_packages = os.pathsep.join([str(ROOT), str(ROOT / "workflow")])
    environment = {**os.environ, "PYTHONPATH": path_of_packages}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_an_image_folder_is_extra_data_and_a_teacher_is_trained_on_it(tmp_path: Path) -> None:
    load_plugin(str(TOY_DISTILLATION))
    paths = [make_images(tmp_path / str(value), value) for value in (1, 2)]
    names = ("mine", "more")
    datasets = {n: {"path": p, "image_size": 16} for n, p in zip(names, paths, strict=True)}
    labels = {"method": "trades", "recipe": "plain"}
    extra = {"dataset": "more", "share": 0.25, "labels": labels}
    teacher = {"method": "pgd-at", "dataset": "more", "recipe": "semi"}
    wanted = config(
        tmp_path,
        "mine",
        datasets=datasets,
        methods={"PGD-AT": {"name": "distillation", "teacher": teacher}},
        recipes={"plain": {}, "default": {}, "semi": {"extra_data": {**extra, "dataset": "mine"}}},
    )
    plan = Plan(read_config(wanted, "test"))
    student, trained_on_more, labeller = plan.cells.values()
    assert student.image_folder is not None
    assert student.image_folder.name == "mine"
    assert trained_on_more.dataset.startswith("more@")
    assert trained_on_more.extra_data is not None
    assert trained_on_more.extra_data.dataset == student.dataset
    assert labeller.dataset == trained_on_more.dataset
    # A job knows of them what the spec says.
    spec = json.dumps(student.to_json())
    code = (
        "import json, sys; from raat_core import api; api.load_plugin(sys.argv[2]); "
        "print(api.cell(json.loads(sys.argv[1])).name)"
    )
    command = [sys.executable, "-c", code, spec, str(TOY_DISTILLATION)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == student.name
