"""The processes of jobs on this machine: found, signalled and ended."""

from __future__ import annotations

import contextlib
import os

import psutil

from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.state import TaskState


def alive(attempt: Attempt) -> bool:
    """Whether submitit's controller or the task itself runs; pids alone may be another's by now."""
    own = TaskState.read(attempt.state_file)
    pids = [int(attempt.id)] if attempt.id is not None else []
    pids += [own.pid] if own is not None else []
    return any(str(attempt.folder) in _command_line(pid) for pid in pids)


def send(attempt: Attempt, number: int) -> None:
    """Signal the processes of a job: submitit's controller and the task itself."""
    own = TaskState.read(attempt.state_file)
    for pid in {int(attempt.id or 0), own.pid if own else 0}:
        if pid and str(attempt.folder) in _command_line(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def kill_orphans(attempt: Attempt) -> None:
    """End what a job left running when it was killed itself."""
    own = TaskState.read(attempt.state_file)
    if own is None or not own.command_pid:
        return
    with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
        for process in _group(own.command_pid):
            if process.environ().get("SUBMITIT_FOLDER") == str(attempt.folder):
                process.kill()


def _command_line(pid: int) -> list[str]:
    try:
        return list(psutil.Process(pid).cmdline())
    except (psutil.Error, ValueError):
        return []


def _group(number: int) -> list[psutil.Process]:
    """The processes of a process group."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == number:
                members.append(process)
    return members
