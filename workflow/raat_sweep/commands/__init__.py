"""`python -m raat_sweep`: the commands, and how a terminal shows what they found."""
