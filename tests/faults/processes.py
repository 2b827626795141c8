"""Work in a process of its own, which can be killed or find its storage failing."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

CONTEXT = multiprocessing.get_context("fork")


def killed(work: Callable[[], object], seconds: float) -> bool:
    """Do some work in a child, and kill it after so many seconds; False if it was done before."""
    child = CONTEXT.Process(target=_alone, args=(work,))
    child.start()
    child.join(seconds)
    hit = child.is_alive()
    if hit:
        child.kill()
    child.join()
    assert hit or child.exitcode == 0
    return hit


def _alone(work: Callable[[], object]) -> None:
    torch.set_num_threads(1)
    work()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    text: str
    """What it printed, on both streams."""

    @property
    def errors(self) -> list[str]:
        """Its lines that say what is wrong."""
        return [line for line in self.text.splitlines() if line.startswith("error: ")]


def ended(work: Callable[[], int | None], log: Path) -> Ended:
    """Do some work in a child to its end, with both streams in a file, as a job's are."""
    with log.open("wb") as file:
        child: BaseProcess = CONTEXT.Process(target=_logged, args=(work, file.fileno()))
        child.start()
        child.join()
    assert child.exitcode is not None
    return Ended(child.exitcode, log.read_text(errors="replace"))


def _logged(work: Callable[[], int | None], log: int) -> None:
    torch.set_num_threads(1)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (of this process's own end)
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    code: int | None = 1
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def strays(*folders: Path) -> list[Path]:
    """Files that somebody began to write and nobody will end."""
    ends = (".partial", ".save_tmp", ".tmp")
    return [path for folder in folders for path in folder.rglob("*") if path.name.endswith(ends)]
