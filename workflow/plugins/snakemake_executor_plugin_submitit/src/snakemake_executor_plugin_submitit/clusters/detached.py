"""submitit's local jobs, so that they outlive the head process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.local.local import LocalJob

UNLIMITED_MINUTES = 60 * 24 * 365 * 10


class DetachedExecutor(submitit.LocalExecutor):
    """submitit's, with jobs in sessions of their own: no Ctrl-C or hang-up of the head's terminal
    reaches them, and GPUs are named as the driver names them.
    """

    def __init__(self, folder: Path, gpus: Sequence[str]) -> None:
        super().__init__(folder, max_num_timeout=0)
        self.gpus = gpus

    def _submit_command(self, command: str) -> LocalJob[Any]:
        environment = {
            **os.environ,
            "SUBMITIT_LOCAL_NTASKS": "1",
            "SUBMITIT_LOCAL_COMMAND": command,
            "SUBMITIT_LOCAL_TIMEOUT_S": str(60 * UNLIMITED_MINUTES),
            "SUBMITIT_LOCAL_SIGNAL_DELAY_S": "0",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_STDERR_TO_STDOUT": "",
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_WITH_SHELL": "",
            "CUDA_VISIBLE_DEVICES": ",".join(self.gpus),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "submitit.local._local", str(self.folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_take_interrupts,
        )
        return LocalJob(folder=self.folder, job_id=str(process.pid), process=process)


def _take_interrupts() -> None:
    """The head process puts them off while it submits; its jobs need not."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGQUIT})
