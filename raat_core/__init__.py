"""Adversarial training under one protocol: methods, attacks, training that resumes, evaluation.

Reading specs (`raat_core.spec`) and records (`raat_core.evaluation.records`) needs no torch; the
rest imports it. `raat_core.api` is the way in from a notebook; `python -m raat_core` from a shell.
"""

__version__ = "0.1.0"
