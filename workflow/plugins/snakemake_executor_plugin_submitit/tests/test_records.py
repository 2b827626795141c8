"""Jobs as the journal knows them."""

from __future__ import annotations

from snakemake_executor_plugin_submitit.jobs.records import _plain


def test_params_are_the_same_in_every_process() -> None:
    class Thing:
        pass

    assert _plain({"b", "a"}) == _plain({"a", "b"}) == ["a", "b"]
    assert _plain([Thing(), {("a", 1): 2}]) == _plain([Thing(), {("a", 1): 2}])
    assert _plain([1]) != _plain([2])
