"""What the documents show works, and what they link to is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conftest import small_cell
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.commands.cli import main
from raat_core.data.dataset import DataSet
from raat_core.interface.registry import resolve_attack
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "config/*.md", "results/README.md")
    for page in ROOT.glob(pattern)
)


def blocks(page: str, language: str) -> list[str]:
    """The page's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_are_there(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    named = re.findall(r"`((?:raat_core|workflow|config|tests|envs|docs)/[\w./-]+\.\w+)`", text)
    for link in links:
        assert (page.parent / link).exists(), link
    for path in named:
        assert (ROOT / path).exists(), path


LONGEST_EXAMPLE = 40
"""Lines, of the page on extensions."""


def write_extensions(folder: Path) -> list[str]:
    """The files of the page on extensions, under the names in their docstrings."""
    names = []
    for source in blocks("docs/extending.md", "python"):
        named = re.match(r'"""(my/\w+\.py): ', source)
        assert named is not None, source[:80]
        assert source.count("\n") <= LONGEST_EXAMPLE, named.group(1)
        names.append(named.group(1))
        (folder / names[-1]).parent.mkdir(exist_ok=True)
        (folder / names[-1]).write_text(source)
    return names


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's files are; names are registered once in a process."""
    folder = tmp_path_factory.mktemp("extensions")
    write_extensions(folder)
    return folder


@pytest.fixture
def extensions(written: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The page's config, its plugins beside it."""
    monkeypatch.chdir(written)
    names = [f"my/{path.name}" for path in written.glob("my/*.py")]
    (text,) = blocks("docs/extending.md", "yaml")
    config: dict[str, Any] = yaml.safe_load(text)
    assert sorted(config["plugins"]) == sorted(names)
    return config


def test_the_extensions_in_the_docs_work(
    extensions: dict[str, Any], tmp_path: Path, small_data: DataSet
) -> None:
    for name in extensions["plugins"]:
        api.load_plugin(name)
    method, recipe = extensions["methods"]["ALP"], small_cell().recipe
    cell = small_cell(method=method, architecture="groupnorm-net", dataset="night", recipe=recipe)
    assert len(api.load_data_set("night").test) == 297
    folder = api.train(cell, tmp_path / "cell", data=small_data)
    attack = {"kind": "random-fgsm", "epsilon": "0.1"}
    results = api.attack(folder, [resolve_attack(attack)], data=small_data)
    assert 0 <= results["attacks"][0]["accuracy"] <= 100


def test_the_sweep_of_extensions_in_the_docs_plans(extensions: dict[str, Any]) -> None:
    plan = Plan(read_config(extensions, "docs"))
    assert len(plan.cells) == 2 * 2
    assert {cell.dataset for cell in plan.cells.values()} == {"night"}


@pytest.mark.slow
def test_the_sweep_of_extensions_in_the_docs_runs(extensions: dict[str, Any]) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(extensions))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "my.yaml"]
    done = subprocess.run(
        [*command, "--snakefile", str(ROOT / "Snakefile")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    table = Path("results/mine/mine.md").read_text()
    assert "ALP" in table
    assert "Night" in table


def test_the_sweep_in_the_docs_plans() -> None:
    (sweep,) = blocks("config/README.md", "yaml")
    plan = Plan(read_config(yaml.safe_load(sweep), "docs"))
    assert len(plan.cells) == 2 * 4 * 3


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network of the page on checkpoints, with weights of two seeds."""
    monkeypatch.chdir(tmp_path)
    (source,) = blocks("docs/checkpoints.md", "python")
    Path("my").mkdir()
    Path("my/net.py").write_text(source)
    scope: dict[str, Any] = {}
    exec(source, scope)
    for name in ("net", "seed0", "seed1"):
        torch.save(scope["SmallNet"]().state_dict(), f"my/{name}.pt")
    return tmp_path


def test_the_checkpoint_in_the_docs_is_attacked(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = blocks("docs/checkpoints.md", "sh")
    program, *arguments = shlex.split(command.replace("\\\n", " "))
    assert [program, *arguments[:2]] == ["python", "-m", "raat_core"]
    assert main(arguments[2:]) == 0
    said = capsys.readouterr().out
    assert "clean accuracy on 256 test images" in said
    assert "pgd-10: " in said
    (folder,) = (checkpoints / "results/cells").iterdir()
    assert len(list((folder / "records").glob("*.safetensors"))) == 2


def test_the_sweep_of_checkpoints_in_the_docs_plans(checkpoints: Path) -> None:
    (sweep,) = blocks("docs/checkpoints.md", "yaml")
    plan = Plan(read_config(yaml.safe_load(sweep), "docs"))
    assert len(plan.cells) == 2 + 2
    assert sorted(map(str, plan.weights.values())) == ["my/seed0.pt", "my/seed1.pt"]


def test_the_cell_in_the_readme_is_valid() -> None:
    (source,) = blocks("README.md", "python")
    spec = re.search(r"api\.cell\(\s*(\{.*?\n\s*\})\s*\)", source, re.DOTALL)
    assert spec is not None
    assert isinstance(api.cell(yaml.safe_load(spec.group(1))), Cell)


def test_the_ways_to_read_are_short() -> None:
    """A step, and a number, are to be understood from six files at most."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    ways = re.findall(r"^\*\*(One [^*]+)\*\*[^\n]*\n\n((?:\d\. [^\n]+\n)+)", text, re.MULTILINE)
    assert [name for name, _ in ways] == ["One training step", "One number"]
    for _, way in ways:
        files = re.findall(r"^\d\. `([^`]+)`: ", way, re.MULTILINE)
        assert 0 < len(files) == way.count("\n") <= 6
        for file in files:
            assert (ROOT / file).is_file(), file
