"""Jobs that wait until the cluster accepts them: submitted, put off, or refused."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from snakemake_executor_plugin_submitit.clusters.cluster import Refused, Submission, TryLater, parts
from snakemake_executor_plugin_submitit.clusters.local import Local
from snakemake_executor_plugin_submitit.head.preparing import prepare
from snakemake_executor_plugin_submitit.head.reporting import report_unsent
from snakemake_executor_plugin_submitit.head.run import Run, Running
from snakemake_executor_plugin_submitit.interrupts import uninterrupted
from snakemake_executor_plugin_submitit.jobs.ready import Ready
from snakemake_executor_plugin_submitit.jobs.records import title

LONGEST_BACKOFF_SECONDS = 60.0


@dataclass
class Batch:
    """Ready jobs of equal requests, from the first try to submit them to the one that succeeds."""

    jobs: list[Ready]
    submission: Submission | None = None
    tries: int = 0
    not_before: float = 0.0


class Batches:
    """All batches that wait."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._waiting: list[Batch] = []

    @property
    def submissions(self) -> set[str]:
        """What was tried already, and is tried again."""
        return {batch.submission.id for batch in self._waiting if batch.submission is not None}

    def add(self, jobs: Sequence[Ready]) -> None:
        """Have jobs of equal requests wait, in batches that the cluster may take."""
        self._waiting += [Batch(list(part)) for part in parts(jobs, self._run.cluster.most_jobs)]

    def send(self) -> None:
        """Submit what waits, as far as the cluster takes it."""
        if self._run.leaving:
            return
        self._run.cluster.release_ended()
        for batch in sorted(self._waiting, key=lambda batch: len(batch.jobs)):
            has_room = self._run.cluster.has_room(batch.jobs[0].request)
            if batch.not_before > time.monotonic() or not has_room:
                continue
            if not self._try(batch):
                return

    def _try(self, batch: Batch) -> bool:
        """Try to submit a batch; False if the cluster takes nothing now."""
        try:
            submission = self._submit(batch)
        except TryLater as reason:
            self._put_off(batch, reason)
            return False
        except OSError as error:  # A full disk, say. What was accepted is found by its name.
            self._put_off(batch, TryLater(str(error)))
            return False
        except KeyboardInterrupt:
            self._run.leaving = True
            raise
        except Refused as error:
            self._give_up(batch, error)
            return True
        self._waiting.remove(batch)
        self._watch(batch, submission)
        return True

    def _submit(self, batch: Batch) -> Submission:
        # A job of this machine must not start without this process knowing which it is.
        local = isinstance(self._run.cluster, Local)
        with uninterrupted() if local else contextlib.nullcontext():
            submission = batch.submission = batch.submission or prepare(self._run, batch.jobs)
            ids = self._run.cluster.submit(submission)
            self._run.journal.sent(submission.id, ids)
        return submission

    def _watch(self, batch: Batch, submission: Submission) -> None:
        attempts = self._run.journal.submissions[submission.id]
        for ready, attempt in zip(batch.jobs, attempts, strict=True):
            self._run.logger.info(
                f"Submitted {title(ready.record)} as job {attempt.id}, log: {ready.record.log}"
            )
            self._run.watch(Running(ready, attempt))
        if self._run.leaving:  # Ctrl-C came while the cluster thought about it.
            self._run.cancel(attempts)

    def _put_off(self, batch: Batch, reason: TryLater) -> None:
        """Try again later; with fewer jobs at a time if there are too many."""
        batch.tries += 1
        pause = min(2.0**batch.tries, LONGEST_BACKOFF_SECONDS)
        batch.not_before = time.monotonic() + pause
        self._run.logger.info(
            f"Not accepted now: {reason}. {len(batch.jobs)} jobs wait; next try in {pause:.0f} s."
        )
        if reason.too_many and len(batch.jobs) > 1 and batch.submission is not None:
            self._run.journal.dropped(batch.submission.id)
            self._waiting.remove(batch)
            half = len(batch.jobs) // 2
            self._waiting += [Batch(batch.jobs[:half]), Batch(batch.jobs[half:])]

    def _give_up(self, batch: Batch, error: Refused) -> None:
        assert batch.submission is not None
        self._waiting.remove(batch)
        self._run.journal.dropped(batch.submission.id)
        self._run.logger.error(f"Refused: {error}")
        for ready in batch.jobs:
            report_unsent(self._run, ready.job, f"refused: {error}")
