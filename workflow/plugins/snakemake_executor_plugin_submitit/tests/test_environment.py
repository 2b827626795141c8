"""The environment that jobs inherit."""

from __future__ import annotations

import os
import site

import pytest
from toy import SOURCE

from snakemake_executor_plugin_submitit.clusters.environment import job_environment


def test_jobs_find_this_package_where_it_is_only_on_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site, "getsitepackages", list)
    monkeypatch.setenv("PYTHONPATH", "/else/where")
    with job_environment():
        assert os.environ["PYTHONPATH"] == os.pathsep.join([str(SOURCE), "/else/where"])
    assert os.environ["PYTHONPATH"] == "/else/where"
