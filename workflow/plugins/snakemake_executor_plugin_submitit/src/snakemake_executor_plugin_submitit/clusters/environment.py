"""The environment that jobs inherit."""

from __future__ import annotations

import contextlib
import os
import site
from collections.abc import Iterator
from pathlib import Path

from submitit.core.utils import environment_variables
from submitit.helpers import clean_env


@contextlib.contextmanager
def job_environment() -> Iterator[None]:
    """Environment variables as jobs are to inherit them.

    Not what belongs to a job that this process itself may run in, and so that this package is
    found where it is not installed but on the path.
    """
    ours = str(Path(__file__).resolve().parents[2])
    passed = {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or name.startswith("SBATCH_")  # The user's, for sbatch.
    }
    if ours not in site.getsitepackages():
        path = os.environ.get("PYTHONPATH")
        passed["PYTHONPATH"] = os.pathsep.join([ours, *filter(None, [path])])
    with clean_env(), environment_variables(**passed):
        yield
