"""The clusters that a run has to do with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.clusters.cluster import Cluster
from snakemake_executor_plugin_submitit.clusters.debug import Debug
from snakemake_executor_plugin_submitit.clusters.local import Local
from snakemake_executor_plugin_submitit.clusters.pool import Pool, gpu_ids, gpus_of_this_machine
from snakemake_executor_plugin_submitit.clusters.slurm import Slurm
from snakemake_executor_plugin_submitit.journal import Attempt, Journal
from snakemake_executor_plugin_submitit.settings import ExecutorSettings


@dataclass
class Clusters:
    """Clusters by name, each made when it is first asked for."""

    settings: ExecutorSettings
    journal: Journal
    seconds_between_queries: float
    """To SLURM."""
    _made: dict[str, Cluster] = field(default_factory=dict)

    def named(self, name: str) -> Cluster:
        """The cluster of new jobs, or that of jobs of an earlier run.

        Raises:
            Refused: there is no such cluster here.
        """
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def of(self, attempts: Sequence[Attempt]) -> Iterator[tuple[Cluster, list[Attempt]]]:
        """Each cluster of these attempts, with those that it has."""
        for name in {attempt.cluster for attempt in attempts}:
            yield self.named(name), [a for a in attempts if a.cluster == name]

    def _make(self, name: str) -> Cluster:
        if name == "debug":
            return Debug()
        if name == "slurm":
            return Slurm(
                setup=[self.settings.setup] if self.settings.setup else [],
                most_jobs=self.settings.array_size,
                seconds_between_queries=self.seconds_between_queries,
            )
        return self._make_local()

    def _make_local(self) -> Local:
        settings = self.settings
        gpus = settings.gpus
        local = Local(
            Pool(
                gpus=gpus_of_this_machine() if gpus is None else gpu_ids(gpus),
                cores=settings.cores or len(os.sched_getaffinity(0)),
                jobs_per_gpu=settings.jobs_per_gpu,
            )
        )
        local.adopt(a for a in self.journal.live.values() if a.cluster == "local")
        return local
