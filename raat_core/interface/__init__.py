"""What the author of a method writes against; methods may also build on the base of another.

Nothing here imports torch: Snakemake reads the settings of all methods while it builds its graph.
"""

from raat_core.interface.attack import Attack, AttackSettings, DrawsByName
from raat_core.interface.average import WeightAverage
from raat_core.interface.draws import Draws
from raat_core.interface.facts import CellFacts
from raat_core.interface.method import Method
from raat_core.interface.registry import register
from raat_core.interface.settings import MethodSettings, departure
from raat_core.interface.step import (
    AttackObjective,
    BatchNormMode,
    Iterate,
    LogitsMode,
    OnIterate,
    Start,
    Step,
    forward_twice,
)

__all__ = [
    "Attack",
    "AttackObjective",
    "AttackSettings",
    "BatchNormMode",
    "CellFacts",
    "Draws",
    "DrawsByName",
    "Iterate",
    "LogitsMode",
    "Method",
    "MethodSettings",
    "OnIterate",
    "Start",
    "Step",
    "WeightAverage",
    "departure",
    "forward_twice",
    "register",
]
