"""What the author of an extension writes against; methods may also build on another's base.

Nothing here imports torch: Snakemake reads the settings of all methods while it builds its graph.
"""

from raat_core.interface.architecture import Architecture
from raat_core.interface.attack import (
    Attack,
    AttackBatch,
    Attacked,
    AttackSettings,
    Outcome,
    Work,
)
from raat_core.interface.average import WeightAverage
from raat_core.interface.data_set import DataSetSpec
from raat_core.interface.draws import Draws
from raat_core.interface.facts import CellFacts
from raat_core.interface.l2 import L2Details, L2Settings
from raat_core.interface.memory import SampleMemory
from raat_core.interface.method import Method
from raat_core.interface.needs import NeededCell
from raat_core.interface.operations import Passes
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
from raat_core.specs.threat_model import Norm
from raat_core.validation import PixelFraction

__all__ = [
    "Architecture",
    "Attack",
    "AttackBatch",
    "AttackObjective",
    "AttackSettings",
    "Attacked",
    "BatchNormMode",
    "CellFacts",
    "DataSetSpec",
    "Draws",
    "Iterate",
    "L2Details",
    "L2Settings",
    "LogitsMode",
    "Method",
    "MethodSettings",
    "NeededCell",
    "Norm",
    "OnIterate",
    "Outcome",
    "Passes",
    "PixelFraction",
    "SampleMemory",
    "Start",
    "Step",
    "WeightAverage",
    "Work",
    "departure",
    "forward_twice",
    "register",
]
