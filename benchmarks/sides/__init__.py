"""Sides of a comparison: a training step of this project, of a textbook, of the authors' code."""
