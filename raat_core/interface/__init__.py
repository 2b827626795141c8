"""What the author of a method reads and uses; the built-in methods use nothing else.

Nothing here imports torch: Snakemake reads the settings of all methods while it builds its graph.
"""

from raat_core.interface.method import Method
from raat_core.interface.registry import register
from raat_core.interface.settings import MethodSettings, departure
from raat_core.interface.step import (
    AttackObjective,
    BatchNormMode,
    LogitsMode,
    Start,
    Step,
    forward_twice,
)

__all__ = [
    "AttackObjective",
    "BatchNormMode",
    "LogitsMode",
    "Method",
    "MethodSettings",
    "Start",
    "Step",
    "departure",
    "forward_twice",
    "register",
]
