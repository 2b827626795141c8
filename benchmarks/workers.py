"""Processes that train a step when they are told to, so that several sides are timed in turn.

    python benchmarks/workers.py '{"side": "ours", "method": "raat", ...}'

A line on standard input asks for a step; its time comes back as a line of JSON, and the process's
peak of memory when the input ends. `Worker` is the other end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import torch
from sides.job import CORRECT, Job
from sides.ours import ours
from sides.released import released
from sides.textbook import plain

from raat_core.fast.cpu.memory import keep_freed_memory

Column: TypeAlias = tuple[str, Job]
"""A side's name, and what it does."""


class Worker(AbstractContextManager["Worker"]):
    """A process that does a job's steps; gone when the block ends.

    Raises:
        SystemExit: it died, for want of memory for example.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        command = [sys.executable, str(Path(__file__).resolve()), json.dumps(asdict(job))]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "GLIBC_TUNABLES": job.tunables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def __exit__(self, *_: object) -> None:
        """Also where another's death ends the measurement."""
        self._process.kill()
        self._process.wait()

    def seconds(self) -> float:
        """Of one step."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # Then nothing is to be read, either.
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        return float(self._read()["seconds"])

    def finish(self) -> float:
        """End the process; returns its peak of memory in MiB (of the GPU's, where it is on one).

        Raises:
            SystemExit: not half of the samples were classified correctly: others' work was timed.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        found = self._read()
        self._process.wait()
        if abs(found["correct"] - CORRECT) > 0.01:
            raise SystemExit(f"{self.job}: {found['correct']:.0%} of the samples are correct")
        return float(found["peak_mib"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        status = self._process.wait()
        raise SystemExit(f"the process of {self.job} has died (status {status})")


def run(
    sides: Sequence[Column], rounds: int, before_a_round: Callable[[], None] = lambda: None
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every round and peak memory in MiB, by side; the rounds' steps alternate."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(job)) for name, job in sides}
        times: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(rounds):
            before_a_round()
            for name, worker in workers.items():
                times[name].append(worker.seconds())
        return times, {name: worker.finish() for name, worker in workers.items()}


def main() -> None:
    """Serve one job."""
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    if job.keep_memory and job.side == "ours":
        keep_freed_memory()
    torch.manual_seed(0)
    step, correct = {"ours": ours, "plain": plain}.get(job.side, released)(job)
    _answer(ready=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        if job.device != "cpu":
            torch.cuda.synchronize()
        _answer(seconds=time.perf_counter() - started)
    peak = _peak_mib(job)
    _answer(peak_mib=peak, correct=correct())


def _answer(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _peak_mib(job: Job) -> float:
    if job.device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10


if __name__ == "__main__":
    main()
