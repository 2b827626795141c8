"""The GPUs and cores of this machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.clusters.cluster import Refused
from snakemake_executor_plugin_submitit.clusters.pool import Pool, gpus_of_this_machine


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6), st.booleans()), max_size=40))
def test_no_gpu_or_core_is_given_twice(jobs: list[tuple[int, int, bool]]) -> None:
    pool = Pool(["0", "1", "2"], cores=8)
    for number, (gpus, cores, release) in enumerate(jobs):
        ids = pool.free(gpus, cores)
        if ids is not None:
            assert len(ids) == gpus
            pool.take(str(number), ids, cores)
        held = [gpu for some, _ in pool.held.values() for gpu in some]
        assert len(held) == len(set(held)) <= 3
        assert sum(count for _, count in pool.held.values()) <= 8
        if release and pool.held:
            pool.release(next(iter(pool.held)))


def test_more_gpus_than_there_are_never_come() -> None:
    with pytest.raises(Refused, match="gpu = 2: this machine has 1"):
        Pool(["0"], cores=1).free(2, 1)
    assert Pool([], cores=1).free(2, 1) == ()


def test_jobs_that_share_gpus_go_to_the_least_busy_one() -> None:
    pool = Pool(["0", "1"], cores=8, jobs_per_gpu=2)
    given = []
    for job in "abcd":
        free = pool.free(1, 1)
        assert free is not None
        pool.take(job, free, 1)
        given.append(free)
    assert given == [("0",), ("1",), ("0",), ("1",)]
    assert pool.free(1, 1) is None
    assert pool.free(0, 1) == ()
    pool.release("b")
    assert pool.free(1, 1) == ("1",)
    assert pool.free(2, 1) is None  # A job of two GPUs needs room on both.
    pool.release("a")
    assert set(pool.free(2, 1) or ()) == {"0", "1"}


def test_gpus_that_are_hidden_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert gpus_of_this_machine() == ["1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_of_this_machine() == []
