"""What the documents show works, and what they link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from conftest import small_cell
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.data.dataset import DataSet
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


def test_the_method_in_the_docs_trains(tmp_path: Path, small_data: DataSet) -> None:
    (source,) = blocks("docs/extending.md", "python")
    plugin = tmp_path / "alp.py"
    plugin.write_text(source)
    api.load_plugin(str(plugin))
    (entry,) = blocks("docs/extending.md", "yaml")
    settings = yaml.safe_load(entry)["methods"]["ALP"]
    folder = api.train(small_cell(method=settings), tmp_path / "cell", data=small_data)
    assert (folder / "manifest.json").exists()


def test_the_sweep_in_the_docs_plans() -> None:
    (sweep,) = blocks("config/README.md", "yaml")
    plan = Plan(read_config(yaml.safe_load(sweep), "docs"))
    assert len(plan.cells) == 2 * 4 * 3


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
