"""What several tests make."""

from __future__ import annotations

from snakemake_executor_plugin_submitit.journal import JobRecord


def record(name: str = "a") -> JobRecord:
    return JobRecord(f"key of {name}", "one", name, (f"{name}.txt",), f"{name}.log", "f", 2)
