"""Submitted jobs: how they are, and what becomes of those that are over."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakemake_executor_plugin_submitit.clusters.cluster import State
from snakemake_executor_plugin_submitit.head.outcomes import collected, is_old, missing_of
from snakemake_executor_plugin_submitit.head.reporting import report_failure
from snakemake_executor_plugin_submitit.head.run import Run, Running
from snakemake_executor_plugin_submitit.head.stuck import give_up_if_stuck
from snakemake_executor_plugin_submitit.head.submission import Submitter
from snakemake_executor_plugin_submitit.jobs.records import title
from snakemake_executor_plugin_submitit.results.files import refresh
from snakemake_executor_plugin_submitit.results.judge import Judge, Outcome


class Watcher:
    """Collects what ended: reports it to Snakemake, or has it submitted anew."""

    def __init__(self, run: Run, submitter: Submitter) -> None:
        self._run = run
        self._submitter = submitter
        self._judge = Judge()

    def collect(self, active: Sequence[SubmittedJobInfo]) -> Iterator[SubmittedJobInfo]:
        """Report what ended; yields what goes on."""
        states = self._states(active)
        for info in active:
            running = info.aux["running"]
            state = states.get((running.attempt.cluster, running.attempt.id), State("unknown"))
            try:
                over = self._collect_one(info, running, state)
            except OSError as error:
                self._run.logger.error(f"Job {running.attempt.id} cannot be collected yet: {error}")
                over = False
            if not over:
                yield info

    def _states(self, active: Sequence[SubmittedJobInfo]) -> dict[tuple[str, str | None], State]:
        attempts = [info.aux["running"].attempt for info in active]
        refresh({attempt.folder for attempt in attempts})
        states: dict[tuple[str, str | None], State] = {}
        for cluster, some in self._run.clusters.of(attempts):
            for job_id, state in cluster.states(some).items():
                states[cluster.name, job_id] = state
        return states

    def _collect_one(self, info: SubmittedJobInfo, running: Running, state: State) -> bool:
        """Report a job that is over; whether it is."""
        attempt, outputs = running.attempt, running.ready.record.outputs
        outcome = (
            collected(attempt)
            or self._judge.outcome(attempt, state)
            or give_up_if_stuck(self._run, running, state)
        )
        if outcome is None:
            running.was_active |= state.phase == "active"
            return False
        if outcome.done and missing_of(outputs) and self._may_still_come(running):
            return False
        with self._run.guard:
            if is_old(self._run, running, outcome):
                self._submit_anew(running, outcome)
                return True
            if outcome.done and (missing := missing_of(outputs)):
                outcome = Outcome(False, f"it ended without an error, but {missing} is not there")
            self._run.end(attempt, outcome)
        if outcome.done:
            self._run.executor.report_job_success(info)
        else:
            report_failure(self._run, info, attempt, state, outcome.cause)
        return True

    def _may_still_come(self, running: Running) -> bool:
        """Whether output files of another node may take a little longer to show up here."""
        running.done_since = running.done_since or time.monotonic()
        patience = self._run.workflow.execution_settings.latency_wait
        return bool(time.monotonic() - running.done_since < patience)

    def _submit_anew(self, running: Running, outcome: Outcome) -> None:
        attempt = running.attempt
        self._run.end(attempt, outcome)
        if not running.replace:
            said = "was done" if outcome.done else f"failed: {outcome.cause}"
            self._run.logger.info(
                f"Job {attempt.id} of an earlier run {said}; {title(attempt.job)} is "
                f"submitted anew."
            )
        self._submitter.place([running.ready])
