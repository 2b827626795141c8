"""Jobs that are to be submitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_submitit.jobs.records import record_of
from snakemake_executor_plugin_submitit.jobs.request import Request, request_of
from snakemake_executor_plugin_submitit.journal import JobRecord


@dataclass
class Ready:
    """A job that is to be submitted."""

    job: Any
    record: JobRecord
    request: Request


def ready_of(job: Any, logs: Path, default_runtime: int) -> Ready:
    """One of Snakemake's jobs, with what is to be known of it.

    Raises:
        BadRequest: names the resource that cannot be understood.
    """
    request = request_of(job.resources, job.threads, default_runtime)
    return Ready(job, record_of(job, logs), request)
