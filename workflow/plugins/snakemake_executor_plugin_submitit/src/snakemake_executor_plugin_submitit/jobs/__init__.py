"""Snakemake's jobs: who they are over runs, and what they ask of a cluster."""
