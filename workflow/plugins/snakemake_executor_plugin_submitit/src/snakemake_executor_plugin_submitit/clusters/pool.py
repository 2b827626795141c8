"""The GPUs and cores of this machine, and who holds them."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.clusters.cluster import Refused


@dataclass
class Pool:
    """The GPUs and cores of this machine, and which job holds which."""

    gpus: Sequence[str]
    cores: int
    jobs_per_gpu: int = 1
    held: dict[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)
    """By submission: GPU ids and number of cores."""

    def free(self, gpus: int, cores: int) -> tuple[str, ...] | None:
        """GPU ids for a job, the least busy ones; None if there is no room for it now.

        On a machine without any GPU, jobs that ask for one run on the CPU.

        Raises:
            Refused: there never will be enough.
        """
        if gpus > len(self.gpus) > 0:
            raise Refused(f"gpu = {gpus}: this machine has {len(self.gpus)}")
        wanted = min(gpus, len(self.gpus))
        jobs = Counter(gpu for ids, _ in self.held.values() for gpu in ids)
        with_room = [gpu for gpu in self.gpus if jobs[gpu] < self.jobs_per_gpu]
        free = sorted(with_room, key=lambda gpu: jobs[gpu])[:wanted]
        used = sum(count for _, count in self.held.values())
        enough = len(free) == wanted and used + min(cores, self.cores) <= self.cores
        return tuple(free) if enough else None

    def take(self, submission: str, gpus: tuple[str, ...], cores: int) -> None:
        """Count what a job holds."""
        self.held[submission] = gpus, min(cores, self.cores)

    def release(self, submission: str) -> None:
        """Give back what a job held."""
        self.held.pop(submission, None)


def gpu_ids(text: str) -> list[str]:
    """Names of GPUs in a list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def gpus_of_this_machine() -> list[str]:
    """GPUs by the names that CUDA_VISIBLE_DEVICES takes; those that it hides do not count."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in gpu_ids(visible) if name != "-1"]
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))] if answer.returncode == 0 else []
