"""Toy workflows, and head processes that can be interrupted, killed and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_executor_plugin_submitit.journal import Journal

SOURCE = Path(__file__).resolve().parents[1] / "src"

SNAKEFILE = """
NAMES = config.get("names", "a b").split()

rule all:
    input: expand("out/{name}.txt", name=NAMES)

rule one:
    output: "out/{name}.txt"
    log: "logs/{name}.log"
    threads: int(config.get("threads", 1))
    resources: **{**dict(runtime=5, mem_mb=500), **config.get("resources", {})}
    params: note=config.get("note", "")
    shell:
        "(echo {wildcards.name} ${{CUDA_VISIBLE_DEVICES:-none}} >> starts;"
        " date +%s.%N >> spans_{wildcards.name}; "
        + config.get("command", "sleep 0.1")
        + "; date +%s.%N >> spans_{wildcards.name};"
        " echo {wildcards.name} > {output}) > {log} 2>&1"
"""


def wait_until(condition: Callable[[], object], seconds: float = 60, what: str = "") -> None:
    """Wait for something to become true.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what or f"not within {seconds} s"
        time.sleep(0.1)


@dataclass
class Head:
    """A running Snakemake, as if in a terminal of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        """What it said so far."""
        return self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        """Signal it and what it started in its terminal."""
        os.killpg(self.process.pid, number)

    def interrupt(self) -> tuple[int, float]:
        """Ctrl-C; the exit code, and the seconds until it ended."""
        began = time.monotonic()
        self.send(signal.SIGINT)
        return self.wait(), time.monotonic() - began

    def kill(self) -> None:
        """As a lost machine: it and nothing else."""
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float = 120) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            raise AssertionError(f"did not end within {seconds} s:\n{self.text()}") from None


def start_head(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Head:
    """Start Snakemake in a folder; what it says goes to head<n>.log there."""
    log = folder / f"head{len(list(folder.glob('head*.log')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Head(process, log)


@dataclass
class Toy:
    """A folder with a toy workflow."""

    folder: Path
    cluster: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    snakefile: str = SNAKEFILE

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "Snakefile").write_text(self.snakefile)

    def start(self, *arguments: str, **config: object) -> Head:
        """Start a head process."""
        settings = [f"{key}={value}" for key, value in config.items()]
        arguments = (
            *("--executor", "submitit", "--submitit-cluster", self.cluster, "--jobs", "500"),
            *("--nolock", "--rerun-incomplete", "--keep-going"),
            *("--max-jobs-per-timespan", "2000/1s", "--seconds-between-status-checks", "1"),
            *self.options,
            *arguments,
            *(["--config", *settings] if settings else []),
        )
        path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        return start_head(arguments, self.folder, {**self.environment, "PYTHONPATH": path})

    def run(self, *arguments: str, **config: object) -> str:
        """Run to a good end; what Snakemake said."""
        head = self.start(*arguments, **config)
        assert head.wait() == 0, head.text()
        return head.text()

    @property
    def journal(self) -> Journal:
        """What the plugin wrote down."""
        return Journal.read(self.folder / ".snakemake/submitit")

    @property
    def ids(self) -> list[str]:
        """Ids of all jobs that were submitted."""
        return [a.id for some in self.journal.submissions.values() for a in some if a.id]

    @property
    def starts(self) -> list[str]:
        """Names of the jobs whose command was started, sorted."""
        path = self.folder / "starts"
        return (
            sorted(line.split()[0] for line in path.read_text().splitlines())
            if path.exists()
            else []
        )

    @property
    def made(self) -> list[str]:
        """Names of the outputs that are there."""
        return sorted(path.stem for path in (self.folder / "out").glob("*.txt"))

    def wait_for_starts(self, count: int, seconds: float = 60) -> None:
        """Wait until so many commands were started."""
        wait_until(lambda: len(self.starts) >= count, seconds, f"starts: {self.starts}")


def processes_of(folder: Path) -> list[int]:
    """Processes that know of a folder by their command line or working directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().decode(errors="replace")
            where = str((path / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in command or where == str(folder):
            found.append(int(path.name))
    return [pid for pid in found if pid != os.getpid()]


def submitted_ids(text: str) -> list[str]:
    """Job ids in what Snakemake said, in the order of submission."""
    return re.findall(r"^Submitted .* as job (\S+), log: ", text, re.MULTILINE)
