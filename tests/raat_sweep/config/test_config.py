"""Configs: what they start from, what they may say, and the one line for what they may not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GRID
from plugin_files import write_extensions
from raat_core.errors import UserError
from raat_core.specs.schedule import Moment
from raat_sweep.config.config import Config
from raat_sweep.config.generated import reference_files
from raat_sweep.config.items import Table
from raat_sweep.config.reading import read_config, read_config_file
from raat_sweep.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
TABLE: dict[str, Any] = {"kind": "table", "title": "T", "metrics": ["clean"], "grids": [GRID]}

PGD: dict[str, Any] = {"kind": "pgd", "title": "P", "steps": 2}


def with_grid(**changes: Any) -> dict[str, Any]:
    return {"items": {"t": {**TABLE, "grids": [{**GRID, **changes}]}}}


def test_a_config_starts_from_the_paper() -> None:
    config = read_config({"items": {"t": TABLE}}, "test")
    assert str(config.threat_models["linf"].epsilon) == "8/255"
    assert config.recipes["default"].epochs == 110
    assert list(config.attacks) == ["clean", "pgd10", "pgd100", "cw", "aa"]
    assert list(config.methods) == [
        "PGD-AT", "TRADES", "MART", "Cons-AT", "RAAT", "RAAT++", "WA", "ReBAT", "RAAT#"
    ]  # fmt: skip
    recipe = config.recipes["rebat"]
    moments = [Moment(epoch, 0, 200, 1) for epoch in (99, 100, 149, 150)]
    rates = [recipe.learning_rate_at(moment) for moment in moments]
    assert rates == pytest.approx([0.1, 0.1 / 1.5, 0.1 / 1.5, 0.1 / 2.25])


def test_entries_are_added_or_replaced() -> None:
    methods = {"RAAT": {"name": "raat", "variant": "released"}, "mine": "trades"}
    config = read_config({"methods": methods, "items": {"t": TABLE}}, "test")
    assert config.methods["RAAT"].variant == "released"
    assert config.methods["mine"].name == "trades"
    assert config.methods["MART"].name == "mart"


@pytest.mark.parametrize("name", ["config", "released", "demo"])
def test_shipped_configs_are_valid(name: str) -> None:
    Plan(read_config_file(ROOT / f"config/{name}.yaml"))


def test_a_config_extends_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = {
        "recipes": {"short": {"epochs": 2}},
        "methods": {"mine": "trades", "other": "mart"},
        "items": {"t": TABLE, "u": TABLE},
    }
    Path("base.yaml").write_text(yaml.safe_dump(base))
    changes: dict[str, Any] = {
        "extends": "base.yaml",
        "results": "elsewhere",
        "methods": {"mine": {"name": "raat"}},
        "items": {"t": {**TABLE, "title": "another"}},
    }
    config = read_config(changes, "test")
    assert config.results == "elsewhere"
    assert config.recipes["short"].epochs == 2
    assert (config.methods["mine"].name, config.methods["other"].name) == ("raat", "mart")
    assert [config.items["t"].title, config.items["u"].title] == ["another", "T"]


def test_plugins_are_added_to_those_of_the_config_that_is_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        Path(f"{name}.py").write_text("")
    Path("base.yaml").write_text("plugins: [a.py, b.py]\nextends: first.yaml\n")
    Path("first.yaml").write_text(yaml.safe_dump({"items": {"t": TABLE}}))
    changes: dict[str, Any] = {"extends": "base.yaml", "plugins": ["c.py", "a.py"]}
    assert read_config(changes, "test").plugins == ("a.py", "b.py", "c.py")
    Path("base.yaml").write_text("plugins: a.py\nextends: first.yaml\n")
    with pytest.raises(UserError, match=r"base\.yaml: plugins = 'a\.py': must be a list of files"):
        read_config(changes, "test")


def test_what_plugins_register_is_known_to_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_extensions(tmp_path / "mine", "net-q", "digits-q")
    grid = {**GRID, "datasets": ["digits-q"], "architectures": ["net-q"]}
    ball = {"epsilon": "16/255", "step_size": "4/255"}
    linf = {**ball, "norm": "linf", "epsilon": "8/255", "datasets": {"digits-q": ball}}
    data = {
        "plugins": ["mine"],
        "items": {"t": {**TABLE, "grids": [grid]}},
        "threat_models": {"linf": linf},
        "attacks": {"x": {"kind": "clean", "title": "X", "job": "x", "shards": {"net-q": 2}}},
    }
    plan = Plan(read_config(data, "test"))
    (cell,) = plan.cells.values()
    assert plan.prepared == ["digits-q"]
    assert cell.threat_model.epsilon == Fraction(16, 255)
    assert plan.items["t"].rows[0]["architecture"] == "Tiny net"
    folder = {"path": "anywhere", "image_size": 8}
    with pytest.raises(UserError, match=r"datasets\.digits-q: a name must be .* none of"):
        read_config({**data, "datasets": {"digits-q": folder}}, "test")


def test_configs_that_extend_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("extends: b.yaml\n")
    Path("b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(UserError, match="these configs extend each other"):
        read_config_file(Path("a.yaml"))
    with pytest.raises(UserError, match=r"cannot read none\.yaml"):
        read_config({"extends": "none.yaml"}, "test")


def test_a_name_stands_for_an_architecture() -> None:
    sweep = {**with_grid(architectures=["small"]), "architectures": {"small": "resnet-mini"}}
    (cell,) = Plan(read_config(sweep, "test")).cells.values()
    assert cell.architecture == "resnet-mini"
    with pytest.raises(
        UserError, match=r"architectures = 'smal': unknown architecture; did you mean 'small'\?"
    ):
        read_config({**sweep, **with_grid(architectures=["smal"])}, "test")


@pytest.mark.parametrize("path", list(reference_files()))
def test_generated_files_are_up_to_date(path: str) -> None:
    """If this fails, run `python -m raat_sweep reference`."""
    assert (ROOT / path).read_text() == reference_files()[path]


def test_the_defaults_file_says_what_an_empty_config_means() -> None:
    written = yaml.safe_load((ROOT / "config/defaults.yaml").read_text())
    assert Config.model_validate(written) == Config.model_validate({})


SHARDS = "must be a whole number of at least 1, or such numbers by architecture"
BAD_CONFIGS: list[tuple[dict[str, Any], list[str]]] = [
    ({"item": {}}, ["unknown key 'item'", "did you mean 'items'?"]),
    ({"items": {"t": {**TABLE, "metrics": ["pgd"]}}}, ["items.t.metrics = 'pgd'", "'pgd10'?"]),
    (
        {"items": {"t": {**TABLE, "kind": "tabel"}}},
        ["items.t: kind = 'tabel'", "did you mean 'table'? allowed: table, figure"],
    ),
    ({"items": {"../t": TABLE}}, ["items.../t", "letters, digits"]),
    (with_grid(methods=["PGD-ATT"]), ["methods = 'PGD-ATT'", "did you mean 'PGD-AT'?"]),
    (with_grid(seeds=[]), ["seeds", "at least 1 item"]),
    (with_grid(seeds=[0, 0]), ["seeds = [0, 0]", "twice"]),
    (with_grid(seeds=[-1]), ["seeds = [-1]", "from 0"]),
    (with_grid(datasets=["cifar"]), ["= 'cifar'", "unknown data set"]),
    (with_grid(architectures=["resnet"]), ["= 'resnet'", "unknown architecture"]),
    (with_grid(threat_model="linff"), ["threat_model = 'linff'", "did you mean 'linf'?"]),
    (with_grid(recipe="fast"), ["recipe = 'fast'", "allowed: default"]),
    (with_grid(vary={"eta": []}), ["vary.eta = []", "at least one value"]),
    (with_grid(methods=["RAAT"], vary={"eta": [0.1, 2]}), ["vary.eta: eta = 2", "less than 1"]),
    (with_grid(methods=["RAAT"], vary={"etta": [0.1]}), ["etta", "did you mean 'eta'?"]),
    ({"methods": {"x": {"name": "raat", "eta": 1.5}}}, ["methods.x.eta = 1.5", "less than 1"]),
    ({"methods": {"x": {"name": "raaat"}}}, ["methods.x", "did you mean 'raat'?"]),
    ({"attacks": {"aa": {"kind": "autoattack"}}}, ["attacks.aa", "title: is missing"]),
    (
        {"attacks": {"c": {"kind": "clean", "title": "C", "samples": 999}}, **with_grid()},
        ["attacks.c.samples = 999", "at most 360"],
    ),
    (
        {"threat_models": {"linf": {"norm": "linf", "epsilon": 8, "step_size": 2}}},
        ["threat_models.linf", "epsilon = 8", "8/255"],
    ),
    ({"selection": {"split": "tset"}}, ["selection.split = 'tset'", "'test' or 'validation'"]),
    ({"plugins": ["nowhere.py"]}, ["plugins: 'nowhere.py'", "no such file"]),
    ({"plugins": "mine.py"}, ["plugins = 'mine.py'", "must be a list"]),
    ({"results": "/tmp/../x"}, ["results = '/tmp/../x'"]),
    ({"results": "."}, ["results = '.'", "a folder of its own"]),
    ({"results": "a b"}, ["results = 'a b'", "letters, digits"]),
    ({"results": "results/x"}, ["items: is missing"]),
    ({"items": {"cells": TABLE}}, ["items.cells", "not `cells`"]),
    ({"items": {"t": {**TABLE, "ours": ["PGD-ATT"]}}}, ["items.t.ours = 'PGD-ATT'", "'PGD-AT'?"]),
    (
        {
            "attacks": {"p": {"kind": "pgd", "title": "P", "steps": 2, "step_size": 2}},
            **with_grid(),
        },
        ["attacks.p: step_size = 2", "at most 2 epsilon = 16/255"],
    ),
    (
        {
            "attacks": {"p": {"kind": "pgd", "title": "P", "steps": 2, "step_size": -1}},
            **with_grid(),
        },
        ["attacks.p: step_size = -1"],
    ),
    (with_grid(methods=["TRADES"], vary={"lam": [1]}), ["unknown key 'lam'", "lambda"]),
    ({"attacks": {"p": {**PGD, "shards": 0}}}, ["attacks.p", "shards = 0", SHARDS]),
    ({"attacks": {"p": {**PGD, "steps": 0}}}, ["attacks.p.steps = 0", "greater than"]),
    ({"attacks": {"p": {"kind": "pgd", "title": "P"}}}, ["attacks.p.steps: is missing"]),
    ({"attacks": {"p": {**PGD, "norm": "l3"}}}, ["attacks.p.norm = 'l3'", "'linf' or 'l2'"]),
    (
        {"attacks": {"p": {**PGD, "epsilon": "1/255", "step_size": "8/255"}}, **with_grid()},
        ["attacks.p: step_size = 8/255", "at most 2 epsilon = 2/255"],
    ),
    ({"selection": {"by": "pgd01"}}, ["selection.by = 'pgd01'", "did you mean 'pgd10'?"]),
    (
        {"recipes": {"r": {"selection": {"by": "lst"}}}},
        ["recipes.r.selection.by = 'lst'", "did you mean 'last'?"],
    ),
    (
        {"recipes": {"r": {"selection": {"splt": "test"}}}},
        ["recipes.r.selection: unknown key 'splt'", "did you mean 'split'?"],
    ),
    (
        {"attacks": {"s": {**PGD, "samples": 361}}, "selection": {"by": "s"}, **with_grid()},
        ["samples = 361", "at most 360"],
    ),
    ({"attacks": {"p": {**PGD, "shards": "8"}}}, ["shards = '8'", SHARDS]),
    ({"attacks": {"p": {**PGD, "shards": {"resnet-18": 1.5}}}}, ["shards: ", SHARDS]),
    ({"attacks": {"p": {**PGD, "shards": {"wrn": 8}}}}, ["shards", "unknown architecture 'wrn'"]),
    (
        {"attacks": {"p": {**PGD, "shards": 2, "job": "training"}}},
        ["attacks.p", "shards = 2", "job `training`", "another job"],
    ),
    (
        {
            "attacks": {"p": {**PGD, "shards": {"wrn-28-10": 8}}},
            "items": {"t": {**TABLE, "metrics": ["clean", "p"]}},
        },
        [
            "attacks.p.shards = 8, attacks.clean.shards = 1 (for wrn-28-10)",
            "job 'gradient'",
            "the same shards",
        ],
    ),
]


@pytest.mark.parametrize(("config", "parts"), BAD_CONFIGS)
def test_bad_configs_get_one_clear_line(config: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        Plan(read_config(config, "my.yaml"))
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_panel_needs_what_is_on_its_x_axis() -> None:
    panel = {"title": "p", "x": "eta", "x_label": "η", "metrics": ["clean"], "grids": [GRID]}
    figure = {"kind": "figure", "title": "f", "panels": {"a": panel}}
    with pytest.raises(UserError, match="x = 'eta'; allowed: epoch, method"):
        read_config({"items": {"f": figure}}, "test")


def test_a_threat_model_may_have_other_balls_for_some_data_sets() -> None:
    threat = {
        "norm": "linf",
        "epsilon": "8/255",
        "step_size": "2/255",
        "datasets": {"digits": {"epsilon": 0.15, "step_size": 0.05}},
    }
    config = read_config({"threat_models": {"linf": threat}, "items": {"t": TABLE}}, "test")
    (cell,) = Plan(config).cells.values()
    assert float(cell.threat_model.epsilon) == 0.15
    assert isinstance(config.items["t"], Table)


def test_cells_that_cannot_be_are_refused() -> None:
    grid = {**GRID, "architectures": ["preact-resnet-18-normalised"]}
    with pytest.raises(UserError, match=r"^items\.t: architecture = .*; those of digits have 1$"):
        Plan(read_config({"items": {"t": {**TABLE, "grids": [grid]}}}, "test"))


def test_cells_that_cannot_be_told_apart_are_refused() -> None:
    recipes = {"short": {"epochs": 2, "decay_epochs": []}}
    table = {**TABLE, "grids": [GRID, {**GRID, "recipe": "short"}]}
    with pytest.raises(UserError, match=r"items\.t: .* would stand in the same place"):
        Plan(read_config({"recipes": recipes, "items": {"t": table}}, "test"))
    panel = {"title": "p", "x": "method", "x_label": "x", "metrics": ["clean"]}
    grid = {**GRID, "architectures": ["resnet-mini", "resnet-18"]}
    figure = {"kind": "figure", "title": "f", "panels": {"a": {**panel, "grids": [grid]}}}
    with pytest.raises(UserError, match=r"items\.f\.panels\.a: "):
        Plan(read_config({"items": {"f": figure}}, "test"))
