"""What lies between a config and its tables: cells, files, measurements, tables, figures.

Imported by workflow/rules/common.smk while Snakemake builds its graph; nothing here imports torch.
"""
