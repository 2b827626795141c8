"""What a job needs on its node, besides its command: signals, its log, SLURM's answer."""
