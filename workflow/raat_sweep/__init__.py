"""What lies between a config and its tables: cells, files, measurements, tables, figures.

Imported by the Snakefile while it builds its graph; nothing here imports torch.
"""
