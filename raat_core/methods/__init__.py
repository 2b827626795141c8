"""Adversarial training methods, one file each, and what several of them are made of.

What the author of a method needs is in `raat_core.interface`, and for short here, too.
"""

from raat_core import interface
from raat_core.interface import *  # noqa: F403
from raat_core.interface.plugins import load_plugin
from raat_core.interface.registry import BUILT_IN_METHODS, method_class, method_names

__all__ = ["BUILT_IN_METHODS", "load_plugin", "method_class", "method_names"]
__all__ += interface.__all__
