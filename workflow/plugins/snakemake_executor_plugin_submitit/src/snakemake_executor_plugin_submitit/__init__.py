"""Snakemake executor that submits through submitit: SLURM, this machine, or in process.

What Snakemake looks for is imported when it does: reading the journal takes neither Snakemake nor
submitit.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snakemake_executor_plugin_submitit.executor import Executor
    from snakemake_executor_plugin_submitit.settings import ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]


def __getattr__(name: str) -> Any:
    if name == "Executor":
        from snakemake_executor_plugin_submitit.executor import Executor

        return Executor
    if name in ("ExecutorSettings", "common_settings"):
        from snakemake_executor_plugin_submitit import settings

        return getattr(settings, name)
    raise AttributeError(name)
