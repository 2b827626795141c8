"""Jobs that an earlier head process submitted: found again, and taken over."""

from __future__ import annotations

import time
from collections.abc import Set

from snakemake_executor_plugin_submitit.clusters.cluster import Refused, TryLater
from snakemake_executor_plugin_submitit.head.reporting import report_unsent
from snakemake_executor_plugin_submitit.head.run import Run, Running
from snakemake_executor_plugin_submitit.jobs.ready import Ready
from snakemake_executor_plugin_submitit.jobs.records import title
from snakemake_executor_plugin_submitit.journal import Attempt

SETTLE_SECONDS = 30.0
"""How long an sbatch that a killed head left behind may take to be accepted."""


class EarlierJobs:
    """What the journal has of earlier runs."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def settle(self, trying: Set[str]) -> None:
        """Find out about submissions that a killed head process left without an answer.

        Args:
            trying: those that this process left so, and tries again.
        """
        journal = self._run.journal
        unknown = {a.submission for a in journal.live.values() if a.id is None} - trying
        for submission in unknown:
            attempts = journal.submissions[submission]
            try:
                ids = self._run.clusters.named(attempts[0].cluster).find(attempts)
            except (TryLater, Refused):
                continue
            if ids is not None:
                journal.sent(submission, ids)
            elif time.time() - attempts[0].sent_at > SETTLE_SECONDS:
                journal.dropped(submission)

    def makers(self) -> dict[str, Attempt]:
        """Who makes which file among the live jobs of earlier head processes.

        A group is another one when some of its jobs are done, and a rule can be renamed: what
        makes the same file must not run beside it.
        """
        ours = self._run.submissions
        earlier = (a for a in self._run.journal.live.values() if a.submission not in ours)
        return {path: attempt for attempt in earlier for path in attempt.job.outputs}

    def attach(self, ready: Ready, attempt: Attempt) -> None:
        """Take over a job of an earlier head process."""
        try:
            cluster = self._run.clusters.named(attempt.cluster)
        except Refused as error:
            report_unsent(
                self._run, ready.job, f"it was submitted as job {attempt.id} before: {error}"
            )
            return
        same = attempt.job.key == ready.record.key
        changed = same and attempt.job.fingerprint != ready.record.fingerprint
        replace = attempt.cancelled or changed
        if attempt.cancelled:
            self._run.logger.info(
                f"Job {attempt.id} ({title(ready.record)}) was cancelled: submitted anew as soon "
                f"as it is over."
            )
            cluster.cancel([attempt])  # Perhaps it was never told.
        elif replace:
            self._run.logger.info(
                f"Job {attempt.id} makes {title(ready.record)} from other inputs or params: "
                f"cancelled, to be submitted anew."
            )
            self._run.journal.cancelled([attempt])
            cluster.cancel([attempt])
        else:
            self._run.logger.info(
                f"Attached to job {attempt.id} of an earlier run: {title(ready.record)}, "
                f"log: {attempt.job.log}"
            )
        self._run.watch(Running(ready, attempt, attached=True, replace=replace))
