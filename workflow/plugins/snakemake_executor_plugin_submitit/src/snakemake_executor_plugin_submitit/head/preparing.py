"""A submission, made of jobs that are ready and written down before it is sent."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from snakemake_executor_plugin_submitit.clusters.cluster import Submission
from snakemake_executor_plugin_submitit.head.run import Run
from snakemake_executor_plugin_submitit.jobs.ready import Ready
from snakemake_executor_plugin_submitit.task import Task


def prepare(run: Run, jobs: Sequence[Ready]) -> Submission:
    """Write down what is about to be submitted."""
    identity = uuid.uuid4().hex[:12]
    run.submissions.add(identity)
    rules = {ready.record.name for ready in jobs}
    folder = run.folder / identity
    submission = Submission(
        id=identity,
        name=f"{rules.pop() if len(rules) == 1 else 'jobs'}-{identity}",
        folder=folder,
        request=jobs[0].request,
        tasks=[_task(run, ready, index, folder) for index, ready in enumerate(jobs)],
    )
    records = [ready.record for ready in jobs]
    run.journal.sending(submission.id, run.cluster.name, submission.name, records)
    return submission


def _task(run: Run, ready: Ready, index: int, folder: Path) -> Task:
    limit = 60.0 * ready.request.runtime if run.cluster.has_time_limits else None
    return Task(
        command=run.executor.format_job_exec(ready.job),
        directory=str(Path.cwd()),
        index=index,
        state_file=folder / f"{index}.json",
        log=Path(ready.record.log),
        rule_logs=tuple(map(str, ready.job.log)),
        inputs=tuple(map(str, ready.job.get_wait_for_files())),
        outputs=ready.record.outputs,
        latency_seconds=run.workflow.execution_settings.latency_wait,
        time_limit_seconds=limit,
        grace_seconds=ready.request.grace_within(run.settings.grace),
        restarts=run.settings.restarts,
    )
