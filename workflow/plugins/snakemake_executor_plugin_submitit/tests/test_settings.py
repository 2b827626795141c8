"""Settings that mean nothing."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.settings import ExecutorSettings

BAD_SETTINGS = [
    (ExecutorSettings(restarts=-1), "submitit-restarts = -1: must be a whole number of at least 0"),
    (ExecutorSettings(grace=0), "submitit-grace = 0: must be a whole number of at least 1"),
    (ExecutorSettings(array_size=0), "submitit-array-size = 0: must be"),
    (ExecutorSettings(default_runtime=0), "submitit-default-runtime = 0: must be"),
    (ExecutorSettings(pending_patience=-1), "submitit-pending-patience = -1: must be"),
    (ExecutorSettings(cores=0), "submitit-cores = 0: must be"),
    (ExecutorSettings(gpus="0,1,0"), "submitit-gpus = '0,1,0': the same GPU stands there twice"),
]


@pytest.mark.parametrize(("settings", "words"), BAD_SETTINGS)
def test_settings_that_mean_nothing(settings: ExecutorSettings, words: str) -> None:
    assert (settings.mistake() or "").startswith(words)
    assert ExecutorSettings().mistake() is None
