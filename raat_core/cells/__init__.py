"""What a cell is: its spec, its evaluations, and the files in its folder. Needs no torch."""
