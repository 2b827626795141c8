"""Adversarial training methods: one file each, found by name through `method_class`."""

from raat_core.methods.base import (
    Method,
    MethodSettings,
    Step,
    departure,
    load_plugin,
    method_class,
    method_names,
    register,
)

__all__ = [
    "Method",
    "MethodSettings",
    "Step",
    "departure",
    "load_plugin",
    "method_class",
    "method_names",
    "register",
]
