"""submitit's `debug`: jobs run one after another in the head process, where a debugger reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import submitit
from submitit.core.utils import JobPaths, cloudpickle_dump

from snakemake_executor_plugin_submitit.clusters.cluster import Cluster, State, Submission
from snakemake_executor_plugin_submitit.journal import Attempt
from snakemake_executor_plugin_submitit.task import JobFailed


class Debug(Cluster):
    """No cluster: jobs are over when they were submitted."""

    name = "debug"

    def submit(self, submission: Submission) -> list[str]:
        """Run the jobs, and leave results as submitit's other executors do.

        Raises:
            Exception: one that is not a job's own failure.
        """
        submission.folder.mkdir(parents=True, exist_ok=True)
        ids = []
        for task in submission.tasks:
            job = submitit.DebugExecutor(submission.folder).submit(task)
            error = job.exception()
            if error is not None and not isinstance(error, JobFailed):
                raise error
            result = ("success", None) if error is None else ("error", str(error))
            cloudpickle_dump(result, JobPaths(submission.folder, job.job_id, 0).result_pickle)
            ids.append(job.job_id)
        return ids

    def find(self, attempts: Sequence[Attempt]) -> list[str] | None:
        """Jobs of an earlier process ended with it."""
        return None

    def states(self, attempts: Iterable[Attempt]) -> Mapping[str, State]:
        """Over, all of them."""
        return {
            attempt.id: State("over", certain=True)
            for attempt in attempts
            if attempt.id is not None
        }

    def cancel(self, attempts: Sequence[Attempt]) -> str:
        """Nothing runs any more."""
        return ""
