"""One run of the head process: what submitting, watching and stopping share."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from snakemake_executor_plugin_submitit.clusters.by_name import Clusters
from snakemake_executor_plugin_submitit.clusters.cluster import Cluster, Refused
from snakemake_executor_plugin_submitit.jobs.ready import Ready
from snakemake_executor_plugin_submitit.journal import Attempt, Journal, JournalInUse
from snakemake_executor_plugin_submitit.results.judge import Outcome
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.state import TaskState


@dataclass
class Running:
    """A submitted job."""

    ready: Ready
    attempt: Attempt
    attached: bool = False
    """Submitted by an earlier head process."""
    replace: bool = False
    """Its outcome does not count: the job is submitted anew when it is over."""
    was_active: bool = False
    stuck_since: float | None = None
    done_since: float | None = None


@dataclass
class Run:
    """The state of a run, and what changes it: jobs are watched, cancelled and ended."""

    executor: RemoteExecutor
    """As Snakemake knows it: jobs are reported to Snakemake through it."""
    workflow: Any
    logger: Any
    settings: ExecutorSettings
    folder: Path
    """Of the journal and of submissions."""
    logs: Path
    journal: Journal
    clusters: Clusters
    cluster: Cluster
    """Of new jobs."""
    guard: threading.RLock = field(default_factory=threading.RLock)
    """Held while jobs are placed, submitted and ended: Snakemake's thread submits them, and the
    thread that checks jobs does, too."""
    submissions: set[str] = field(default_factory=set)
    """Of this run; the journal has those of earlier ones, too."""
    mine: dict[tuple[str, int], Running] = field(default_factory=dict)
    """The jobs that are watched, by submission and index."""
    leaving: bool = False
    """Nothing is submitted any more."""
    detached: bool = False
    """The jobs are to go on without this process."""

    @classmethod
    def open(cls, executor: RemoteExecutor, workflow: Any, logger: Any) -> Run:
        """Begin a run: take the journal, which one run at a time may write.

        Raises:
            WorkflowError: a setting makes no sense, or another run has the journal.
        """
        settings = workflow.executor_settings or ExecutorSettings()
        if mistake := settings.mistake():
            raise WorkflowError(mistake)
        folder = Path(workflow.persistence.path).absolute() / "submitit"
        logs = Path(settings.logs or folder / "logs").absolute()
        journal = _open_journal(folder)
        seconds = float(workflow.remote_execution_settings.seconds_between_status_checks)
        clusters = Clusters(settings, journal, seconds_between_queries=seconds)
        try:
            cluster = clusters.named(settings.cluster)
        except Refused as error:
            raise WorkflowError(str(error)) from None
        return cls(executor, workflow, logger, settings, folder, logs, journal, clusters, cluster)

    def watch(self, running: Running) -> None:
        """Have a submitted job checked from now on."""
        attempt = running.attempt
        self.mine[attempt.submission, attempt.index] = running
        self.clusters.named(attempt.cluster).submitted(attempt)
        self.executor.report_job_submission(
            SubmittedJobInfo(
                running.ready.job, external_jobid=running.attempt.id, aux={"running": running}
            )
        )

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Tell jobs to stop, on Ctrl-C."""
        if not attempts:
            return
        self.journal.cancelled(attempts)
        self.logger.info(f"Cancelling {len(attempts)} jobs. Ctrl-C again exits at once.")
        for cluster, some in self.clusters.of(attempts):
            if complaint := cluster.cancel(some):
                self.logger.error(complaint.strip())

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        """Note that an attempt is over, if nobody did."""
        self.mine.pop((attempt.submission, attempt.index), None)
        if attempt.outcome is not None:
            return
        own = TaskState.read(attempt.state_file) or TaskState()
        spent = {
            "node": own.node,
            "gpus": own.gpus,
            "seconds": round(own.seconds, 1),
            "slots": own.slots,
        }
        self.journal.ended(attempt, "done" if outcome.done else "failed", outcome.cause, spent)


def _open_journal(folder: Path) -> Journal:
    try:
        return Journal.open(folder)
    except JournalInUse as holder:
        raise WorkflowError(
            f"another Snakemake submits jobs from this folder ({holder}). Wait for it, or stop it "
            f"by Ctrl-C; Ctrl-\\ there leaves its jobs running for this one to attach to"
        ) from None
    except OSError as error:
        raise WorkflowError(f"cannot write {folder}: {error.strerror}") from None
