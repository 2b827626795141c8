"""A copy of the repository in which Snakemake runs a small sweep."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from toy import Head, start_head

from conftest import GRID
from raat_core.cells.evaluations import CHECKPOINTS
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.weights import read_weights
from raat_core.evaluation.records import Record
from snakemake_executor_plugin_submitit.journal import Attempt, Journal

ROOT = Path(__file__).resolve().parents[1]
PLUGIN_SOURCE = "workflow/plugins/snakemake_executor_plugin_submitit/src"
CONFIG: dict[str, Any] = {
    "results": "results/tiny",
    "recipes": {"default": {"epochs": 1, "batch_size": 256, "decay_epochs": []}},
    "methods": {"MART": {"name": "mart", "lambda": 6}},
    "attacks": {
        "clean": {"kind": "clean", "title": "Clean", "job": "training"},
        "pgd10": {
            **{"kind": "pgd", "title": "PGD-10", "steps": 2, "step_size": "1/2 of epsilon"},
            **{"job": "training", "samples": 50},
        },
    },
    "items": {
        "tiny": {"kind": "table", "title": "T", "metrics": ["clean", "pgd10"], "grids": [GRID]}
    },
}


def without_times(row: dict[str, str]) -> dict[str, str]:
    """What is the same whenever and wherever it is computed."""
    return {key: value for key, value in row.items() if not key.endswith("seconds")}


def numbers_of(cell: CellFolder) -> dict[str, Any]:
    """Checksums of a trained cell's weights, its history, and what its records say of each image.

    All of it is read with its checksum.
    """
    with cell.history.open(newline="") as file:
        history = [without_times(row) for row in csv.DictReader(file)]
    records = {path.stem: Record.read(path) for path in (cell.path / "records").glob("*.*")}
    return {
        "weights": {name: read_weights(cell, name).sha256 for name in CHECKPOINTS},
        "history": history,
        "best": read_manifest(cell)["best"],
        "records": {
            name: [record.index.tolist(), record.label.tolist(), record.prediction.tolist()]
            for name, record in records.items()
        },
    }


class Checkout:
    """A copy of the repository with a config of its own, and Snakemake in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: dict[str, Any] = yaml.safe_load(yaml.safe_dump(CONFIG))
        ignored = shutil.ignore_patterns("__pycache__", "*_cache")
        for name in ("raat_core", "workflow", "config", "envs"):
            shutil.copytree(ROOT / name, path / name, symlinks=True, ignore=ignored)
        for name in ("Snakefile", "profiles", "slurm", "local"):
            shutil.copy(ROOT / name, path / name, follow_symlinks=False)

    def copy(self, path: Path) -> Checkout:
        """A copy of everything in it, Snakemake's own records too."""
        shutil.copytree(self.path, path, symlinks=True)
        copy = object.__new__(Checkout)
        copy.path, copy.config = path, yaml.safe_load(yaml.safe_dump(self.config))
        return copy

    @property
    def grid(self) -> dict[str, Any]:
        grid: dict[str, Any] = self.config["items"]["tiny"]["grids"][0]
        return grid

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.path / "config.yaml").write_text(yaml.safe_dump(self.config))
        command = [sys.executable, "-m", "snakemake", "--configfile", "config.yaml"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [*command, "--cores", "2", *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, profile: str, environment: Mapping[str, str], *arguments: str) -> Head:
        """Start Snakemake with a profile, as in a terminal of its own."""
        return self.start_plain("--profile", profile, *arguments, environment=environment)

    def start_plain(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Head:
        """Start Snakemake with arguments such as `--cores 2`, as in a terminal of its own."""
        (self.path / "config.yaml").write_text(yaml.safe_dump(self.config))
        packages = (self.path, self.path / "workflow", self.path / PLUGIN_SOURCE)
        return start_head(
            ["--configfile", "config.yaml", *arguments],
            self.path,
            {**(environment or {}), "PYTHONPATH": os.pathsep.join(map(str, packages))},
        )

    def run(self) -> str:
        """Run everything; returns what Snakemake said."""
        finished = self.snakemake()
        assert finished.returncode == 0, finished.stderr
        return finished.stderr

    def planned(self) -> dict[str, int]:
        """Numbers of jobs that a run would start, by rule."""
        finished = self.snakemake("--dry-run")
        assert finished.returncode == 0, finished.stderr
        rows = re.findall(r"^(\w+) +(\d+)$", finished.stdout + finished.stderr, re.MULTILINE)
        return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}

    @property
    def cells(self) -> list[CellFolder]:
        """The folders of its cells that there are."""
        return [CellFolder(path) for path in sorted(self.path.glob("results/tiny/cells/*"))]

    def numbers(self) -> dict[str, Any]:
        """All numbers: the tables, and each cell's weights, history and records."""
        results = self.path / "results/tiny"
        found: dict[str, Any] = {
            path.name: path.read_bytes()
            for end in ("tex", "png")
            for path in results.glob(f"*.{end}")
        }
        for path in results.glob("*.csv"):
            with path.open(newline="") as file:
                found[path.name] = [without_times(row) for row in csv.DictReader(file)]
        return {**found, **{cell.path.name: numbers_of(cell) for cell in self.cells}}

    def attempts(self) -> list[Attempt]:
        """All jobs that were submitted by the plugin."""
        journal = Journal.read(self.path / ".snakemake/submitit")
        return [attempt for some in journal.submissions.values() for attempt in some if attempt.id]

    def table(self) -> dict[str, dict[str, str]]:
        """Rows of the table's CSV by method."""
        with (self.path / "results/tiny/tiny.csv").open(newline="") as file:
            return {row["method"]: row for row in csv.DictReader(file)}
