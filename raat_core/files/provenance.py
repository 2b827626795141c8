"""What made a number: versions, hardware, the commit of this code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from raat_core import __version__

_PACKAGES = ("numpy", "safetensors", "pydantic")


def now() -> str:
    """The time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(*more: str) -> dict[str, str]:
    """Versions of Python, this package and what it computes with."""
    packages = {name: importlib.metadata.version(name) for name in (*_PACKAGES, *more)}
    ours = {"raat_core": __version__, "python": platform.python_version()}
    # torch's own version names its build, "+cu130", which the package's metadata does not.
    return {**ours, "torch": str(torch.__version__), **packages}


def hardware(device: torch.device) -> dict[str, Any]:
    """The machine and the device that computed."""
    facts: dict[str, Any] = {
        "host": platform.node(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["gpu"] = properties.name
        facts["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        facts["cuda"] = torch.version.cuda
    return facts


def scheduler_job() -> str | None:
    """The SLURM job that this process is part of, if any."""
    return os.environ.get("SLURM_JOB_ID")


def git_commit() -> str | None:
    """Commit of the checkout this package lies in, with `+changes` if it was edited since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(root, "status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return finished.stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
