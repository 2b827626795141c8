"""Adversarial training methods, one file each, and two bases: `averaging`, `robust_alignment`.

What the author of a method needs is in `raat_core.interface`, and for short here, too.
"""

from raat_core.interface import (
    AttackObjective,
    BatchNormMode,
    LogitsMode,
    Method,
    MethodSettings,
    Start,
    Step,
    departure,
    forward_twice,
    register,
)
from raat_core.interface.plugins import load_plugin
from raat_core.interface.registry import BUILT_IN_METHODS, method_class, method_names

__all__ = [
    "BUILT_IN_METHODS",
    "AttackObjective",
    "BatchNormMode",
    "LogitsMode",
    "Method",
    "MethodSettings",
    "Start",
    "Step",
    "departure",
    "forward_twice",
    "load_plugin",
    "method_class",
    "method_names",
    "register",
]
