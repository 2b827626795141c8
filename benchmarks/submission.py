"""What a trivial job costs through this executor and through the official slurm executor.

    SLURM_CONF=... python benchmarks/submission.py [--jobs 24] [--rounds 3] [--cancel]

Both run the same workflow on the same SLURM, alternately, in one go. Measured from the start of the
command: until SLURM has all jobs, and until Snakemake has ended; with --cancel, the run is stopped
as soon as SLURM has all jobs. The official executor takes part if it is installed
(`snakemake-executor-plugin-slurm`); its jobs look for SLURM's config in /etc/slurm.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SNAKEFILE = """
rule all:
    input: expand("out/{{n}}", n=range({jobs}))
rule one:
    output: "out/{{n}}"
    resources: runtime=5, mem_mb=400
    shell: "touch {{output}}"
"""
OPTIONS = {
    "submitit": ["--submitit-cluster", "slurm"],
    "slurm": ["--slurm-init-seconds-before-status-checks", "2"],
}


def main() -> None:
    """Print seconds per executor and round, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cancel", action="store_true")
    options = parser.parse_args()
    executors = [name for name in OPTIONS if _installed(name)]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in executors}
    for number in range(options.rounds):
        for name in executors:
            queued, done = measure(name, options.jobs, options.cancel)
            times[name].append((queued, done))
            print(f"round {number + 1}  {name:9} all queued {queued:6.2f} s  done {done:6.2f} s")
    for column, what in enumerate(("all queued", "done")):
        medians = {
            name: statistics.median(pair[column] for pair in times[name]) for name in executors
        }
        line = ", ".join(f"{name} {median:.2f} s" for name, median in medians.items())
        ratio = f"; ratio {medians['slurm'] / medians['submitit']:.2f}" if len(medians) == 2 else ""
        print(f"{what}: median of {options.rounds}, {options.jobs} jobs: {line}{ratio}")


def _installed(name: str) -> bool:
    found = importlib.util.find_spec(f"snakemake_executor_plugin_{name}") is not None
    if not found:
        print(f"snakemake-executor-plugin-{name} is not installed: left out")
    return found


def measure(executor: str, jobs: int, cancel: bool) -> tuple[float, float]:
    """Seconds until SLURM has all jobs, and until the end."""
    folder = Path(tempfile.mkdtemp(prefix="submission-"))
    (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
    first = _newest_job() + 1
    command = [
        *(sys.executable, "-m", "snakemake", "--executor", executor, "--jobs", str(jobs)),
        *("--max-jobs-per-timespan", "2000/1s", "--seconds-between-status-checks", "2"),
        *("--latency-wait", "5", "--quiet", *OPTIONS[executor]),
    ]
    began = time.monotonic()
    head = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while _jobs_since(first) < jobs and head.poll() is None:
        time.sleep(0.05)
    queued = time.monotonic() - began
    if cancel:
        head.send_signal(signal.SIGINT)
    if head.wait() != 0 and not cancel:
        raise SystemExit(f"{executor} failed: see {folder}/.snakemake/log")
    done = time.monotonic() - began
    while cancel and _waiting_or_running():
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)
    return queued, done


def _ids() -> list[str]:
    answer = subprocess.run(
        ["squeue", "--noheader", "--array", "--states=all", "--format=%A %F"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return answer.stdout.splitlines()


def _waiting_or_running() -> bool:
    return bool(subprocess.run(["squeue", "--noheader"], capture_output=True).stdout)


def _newest_job() -> int:
    return max((int(line.split()[0]) for line in _ids()), default=0)


def _jobs_since(first: int) -> int:
    return sum(int(line.split()[1]) >= first for line in _ids())


if __name__ == "__main__":
    main()
