"""Measured against published numbers, and claims with their tests."""
