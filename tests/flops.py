"""Floating-point operations counted where torch dispatches them."""

from raat_core.checking.watch import Watch, counted_flop

__all__ = ["Watch", "counted_flop"]
