"""Quicker ways to the same numbers but for rounding, and the arithmetic of a cell's precision."""
