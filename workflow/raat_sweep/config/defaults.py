"""What every config starts from: the paper's settings."""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, dict[str, Any]] = {
    "threat_models": {
        "linf": {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"},
        "l2": {"norm": "l2", "epsilon": "128/255", "step_size": "32/255"},
    },
    "recipes": {
        "default": {},
        "rebat": {"epochs": 200, "decay_epochs": [100, 150], "decay_factor": "2/3"},
    },
    "methods": {
        "PGD-AT": {"name": "pgd-at"},
        "TRADES": {"name": "trades"},
        "MART": {"name": "mart"},
        "Cons-AT": {"name": "cons-at"},
        "RAAT": {"name": "raat"},
        "RAAT++": {"name": "raat++"},
        "WA": {"name": "wa"},
        "ReBAT": {"name": "rebat"},
        "RAAT#": {"name": "raat#"},
    },
    "attacks": {
        "clean": {"kind": "clean", "title": "Clean"},
        "pgd10": {"kind": "pgd", "title": "PGD-10", "steps": 10},
        "pgd100": {"kind": "pgd", "title": "PGD-100", "steps": 100},
        "cw": {"kind": "pgd", "title": "C&W", "objective": "margin", "steps": 30},
        "aa": {"kind": "autoattack", "title": "AA"},
    },
    "derived": {
        "mean": {"kind": "mean", "of": ["clean", "aa"], "title": "Mean"},
        "nrr": {"kind": "harmonic-mean", "of": ["clean", "aa"], "title": "NRR"},
    },
}
"""What every config starts from (the paper's settings); a config's entries are added or replace."""
