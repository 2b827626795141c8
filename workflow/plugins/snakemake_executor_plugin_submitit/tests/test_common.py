"""Snakemake's common tests for executors."""

from __future__ import annotations

import pytest
from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings

pytestmark = pytest.mark.slow


class TestLocal(TestWorkflowsLocalStorageBase):  # type: ignore[misc]
    """On this machine."""

    __test__ = True

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="local")


class TestDebug(TestLocal):
    """In this process."""

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="debug")
