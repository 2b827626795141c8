"""A real SLURM for the tests of this folder; where there is none they are skipped, loudly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy import Toy

from slurm.cluster import Cluster, unavailable


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without accounting: two nodes with four cores and two GPUs each."""
    yield from _cluster(tmp_path_factory.mktemp("slurm"), accounting=False)


@pytest.fixture
def slurm_with_accounting(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of one test's own, in which a user may have 40 jobs."""
    yield from _cluster(tmp_path / "slurm", accounting=True, max_submit_jobs=40)


def _cluster(
    folder: Path, accounting: bool, max_submit_jobs: int | None = None
) -> Iterator[Cluster]:
    if reason := unavailable(accounting):
        pytest.skip(f"no SLURM can be brought up here: {reason}")
    cluster = Cluster.start(
        folder,
        accounting=accounting,
        requeue_delay=5,
        kill_over_memory=True,
        max_submit_jobs=max_submit_jobs,
        KillWait="5",
    )
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def toy(slurm: Cluster, tmp_path: Path) -> Iterator[Toy]:
    """A toy workflow on the cluster; what it left in the queue is cancelled."""
    yield Toy(tmp_path / "toy", "slurm", slurm.environment)
    slurm.run("scancel", f"--user={os.environ.get('USER', 'root')}")
