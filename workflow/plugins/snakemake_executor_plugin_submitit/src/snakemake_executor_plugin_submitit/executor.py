"""Snakemake's executor: what is ready goes out as arrays, what ends is collected, nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from snakemake_executor_plugin_submitit.head.run import Run
from snakemake_executor_plugin_submitit.head.stopping import Stopper
from snakemake_executor_plugin_submitit.head.submission import Submitter
from snakemake_executor_plugin_submitit.head.watching import Watcher


class Executor(RemoteExecutor):  # type: ignore[misc]
    """Submits jobs through submitit, and finds them again after this process was killed."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        # Before the base class's constructor, which starts the thread that checks jobs.
        self._run = Run.open(self, workflow, logger)
        self._submitter = Submitter(self._run)
        self._watcher = Watcher(self._run, self._submitter)
        self._stopper = Stopper(self._run)
        super().__init__(workflow, logger)
        self._warn_of_damage()
        self._stopper.handle_signals()

    def _warn_of_damage(self) -> None:
        journal = self._run.journal
        if damaged := journal.damaged:
            self.logger.warning(
                f"{journal.path} is damaged: left out: line {', '.join(map(str, damaged))}. "
                f"A job that is not found again is submitted anew."
            )

    def run_job(self, job: Any) -> None:
        """See `run_jobs`."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[Any]) -> None:
        """Submit what is ready: jobs of equal requests as one array. Returns at once."""
        self._submitter.submit(jobs)

    def get_job_args(self, job: Any, **kwargs: Any) -> str:
        """Without --wait-for-files: a Snakemake that waits for them in vain exits with 0.

        `Task` waits for them, and says so if they do not come.
        """
        return str(RealExecutor.get_job_args(self, job, **kwargs))

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Collect what ended, submit what waits; yields what goes on."""
        self._submitter.go_on()
        for info in self._watcher.collect(active_jobs):
            yield info

    async def sleep(self) -> None:
        """Wait until the next check, or until there is nothing to check any more."""
        deadline = time.monotonic() + self._seconds_between_checks()
        while self.wait and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    def _seconds_between_checks(self) -> float:
        """Looking for results is cheap, a file each; SLURM itself is asked less often."""
        asked = float(self.workflow.remote_execution_settings.seconds_between_status_checks)
        return min(asked, max(1.0, len(self.active_jobs) / 200))

    def print_job_error(self, job_info: SubmittedJobInfo, msg: Any = None, **kwargs: Any) -> None:
        """Without the base class's advice to look for logs: the message names them."""
        job_info.job.log_error(msg, external_jobid=job_info.external_jobid, **kwargs)

    def cancel(self) -> None:
        """On Ctrl-C: cancel everything that is submitted, unless told to leave it running.

        Snakemake calls this for errors of its own, too. They are no reason to end jobs.
        """
        self._stopper.cancel()
        self.shutdown()

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Not used: `cancel` looks into the journal, which has no gap while jobs are checked."""

    def shutdown(self) -> None:
        """Stop checking jobs, and let others submit from this folder."""
        super().shutdown()
        self._stopper.close()
