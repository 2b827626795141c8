"""Tests against a real SLURM, and the script that brings one up."""
