"""What planning a sweep costs: dry runs of configs of growing size, beside bare Snakefiles.

    python benchmarks/planning.py [--cells 250 1000 2500] [--rounds 3]

A synthetic config asks for one table: RAAT at many λ, each cell trained and attacked, so that
there are two jobs a cell. The bare Snakefile has as many jobs, always two in a row, and nothing
else. Both are planned alternately, in one go; the fastest of the rounds counts. The paper's config
comes last.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BARE = """
rule all:
    input: expand("out/{{n}}.b", n=range({cells}))
rule a:
    output: "out/{{n}}.a"
    shell: "touch {{output}}"
rule b:
    input: "out/{{n}}.a"
    output: "out/{{n}}.b"
    shell: "touch {{output}}"
"""
CONFIG = """
results: results
items:
  t:
    kind: table
    title: T
    metrics: [clean, pgd10]
    grids:
      - datasets: [cifar10]
        architectures: [resnet-18]
        methods: [RAAT]
        seeds: {seeds}
        vary: {{lambda: {values}}}
"""
SEEDS = 5


def main() -> None:
    """Print seconds and milliseconds a job for every size, and the ratio to a bare Snakefile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[250, 1000, 2500])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for cells in options.cells:
        with tempfile.TemporaryDirectory(prefix="planning-") as folder:
            compare(Path(folder), cells, options.rounds)
    with tempfile.TemporaryDirectory(prefix="planning-") as folder:
        paper = ["--snakefile", str(ROOT / "Snakefile")]
        paper += ["--configfile", str(ROOT / "config/config.yaml")]
        seconds, jobs = fastest(Path(folder), [paper] * options.rounds)[0]
        print(f"config/config.yaml: {jobs} jobs in {seconds:.2f} s")


def compare(folder: Path, cells: int, rounds: int) -> None:
    """Plan as many jobs with this workflow and without."""
    (folder / "Snakefile.bare").write_text(BARE.format(cells=cells))
    values = [index + 1 for index in range(cells // SEEDS)]
    (folder / "c.yaml").write_text(CONFIG.format(seeds=list(range(SEEDS)), values=values))
    bare = ["--snakefile", "Snakefile.bare"]
    ours = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "c.yaml"]
    runs = fastest(folder, [bare, ours] * rounds)
    (plain, _), (seconds, jobs) = runs
    print(
        f"{cells} cells: {jobs} jobs in {seconds:.2f} s ({1000 * seconds / jobs:.2f} ms a job); "
        f"a bare Snakefile of as many {plain:.2f} s; ratio {seconds / plain:.2f}"
    )


def fastest(folder: Path, commands: list[list[str]]) -> list[tuple[float, int]]:
    """Seconds of the fastest dry run of each different command, and its number of jobs."""
    best: dict[str, tuple[float, int]] = {}
    for arguments in commands:
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", *arguments]
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - began
        lines = (done.stdout + done.stderr).splitlines()
        (jobs,) = {int(line.split()[1]) for line in lines if line.startswith("total ")}
        key = " ".join(arguments)
        best[key] = min(best.get(key, (seconds, jobs)), (seconds, jobs))
    return list(best.values())


if __name__ == "__main__":
    main()
