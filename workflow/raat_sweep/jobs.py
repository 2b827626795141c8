"""What the processes that Snakemake starts find in their environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def prepare_environment(root: Path, plugins: Sequence[str]) -> None:
    """Let jobs run as this process does: its Python, the packages of this checkout, its plugins.

    With `--sdm conda` the environment's own Python comes before this one. Jobs on other machines
    read the Snakefile again and come by here themselves.
    """
    _prepend("PATH", str(Path(sys.executable).parent))
    _prepend("PYTHONPATH", str(root), str(root / "workflow"))
    os.environ["RAAT_PLUGINS"] = os.pathsep.join(plugins)


def _prepend(variable: str, *entries: str) -> None:
    before = os.environ.get(variable, "")
    os.environ[variable] = os.pathsep.join([*entries, *filter(None, [before])])
