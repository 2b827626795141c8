"""Figures: their points, axes and files."""
