"""Bad input through Snakemake: said in a line before any job starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from checkout import CONFIG, PLUGIN_SOURCE, Checkout

pytestmark = pytest.mark.slow
GOOD = yaml.safe_dump(CONFIG)
BALL = "{norm: linf, epsilon: 8, step_size: 2}"
CASES: list[tuple[str, list[str], dict[str, str], str]] = [
    (
        f"{GOOD}results: b\n",
        [],
        {},
        "config.yaml is not valid .* the key 'results' stands there tw",
    ),
    (f"{GOOD}threat_models: {{linf: {BALL}}}\n", [], {}, "epsilon = 8: .* did you mean 8/255"),
    (f"{GOOD}data: Snakefile\n", [], {}, "data = 'Snakefile': Snakefile is not a folder"),
    (GOOD, ["--config", "results=/"], {}, "results = '/': must be a folder of its own"),
    (GOOD, [], {"RAAT_DATA": "a{b}"}, "RAAT_DATA = 'a{b}': must have no"),
    (GOOD, ["results/tiny/tinny.csv"], {}, "No rule to produce results/tiny/tinny.csv"),
    (GOOD, ["--profile", "local", "--submitit-grace", "0"], {}, "submitit-grace = 0: must be"),
    (GOOD, ["--profile", "local", "--submitit-cluster", "slrm"], {}, "'slrm' .choose from 'slurm'"),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.mark.parametrize(("config", "arguments", "environment", "words"), CASES)
def test_it_is_refused_before_a_job_starts(
    config: str, arguments: list[str], environment: dict[str, str], words: str, checkout: Checkout
) -> None:
    (checkout.path / "config.yaml").write_text(config)
    packages = [checkout.path, checkout.path / "workflow", checkout.path / PLUGIN_SOURCE]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "1", *arguments),
            *("--configfile", "config.yaml"),
        ],
        cwd=checkout.path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if re.search(words, line)]) == 1, said
    assert not list(Path(checkout.path).glob("results/tiny/cells/*"))
