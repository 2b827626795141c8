"""From jobs that are ready to jobs that are submitted, or found to be submitted already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snakemake_executor_plugin_submitit.head.batches import Batches
from snakemake_executor_plugin_submitit.head.earlier_jobs import EarlierJobs
from snakemake_executor_plugin_submitit.head.reporting import report_unsent
from snakemake_executor_plugin_submitit.head.run import Run
from snakemake_executor_plugin_submitit.jobs.ready import Ready, ready_of
from snakemake_executor_plugin_submitit.jobs.request import BadRequest, Request


class Submitter:
    """Submits jobs, and attaches to those that an earlier head process submitted."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._batches = Batches(run)
        self._earlier = EarlierJobs(run)
        self._unsettled: list[Ready] = []
        """Perhaps submitted already: the cluster has not answered yet."""

    def submit(self, jobs: Sequence[Any]) -> None:
        """Submit jobs of equal requests as one array."""
        with self._run.guard:
            self.place(self._readied(jobs))
            self._batches.send()

    def _readied(self, jobs: Sequence[Any]) -> list[Ready]:
        """Jobs with what is to be known of them; those that ask for nonsense are reported."""
        run = self._run
        ready = []
        for job in jobs:
            run.executor.run_job_pre(job)
            try:
                ready.append(ready_of(job, run.logs, run.settings.default_runtime))
            except BadRequest as error:
                report_unsent(run, job, str(error))
        return ready

    def go_on(self) -> None:
        """Submit what waits."""
        with self._run.guard:
            unsettled, self._unsettled = self._unsettled, []
            self.place(unsettled)
            self._batches.send()

    def place(self, ready: Sequence[Ready]) -> None:
        """Attach jobs that an earlier head process submitted; the others go into batches."""
        self._earlier.settle(trying=self._batches.submissions)
        if not ready:
            return
        makers = self._earlier.makers()
        groups: dict[Request, list[Ready]] = {}
        for one in ready:
            makes = (makers[path] for path in one.record.outputs if path in makers)
            earlier = self._run.journal.live.get(one.record.key) or next(makes, None)
            if earlier is None:
                groups.setdefault(one.request, []).append(one)
            elif earlier.id is None:
                self._unsettled.append(one)
            else:
                self._earlier.attach(one, earlier)
        for group in groups.values():
            self._batches.add(group)
