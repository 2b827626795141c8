"""Faults on purpose: kills at random moments, storage that fails, files that are damaged."""
