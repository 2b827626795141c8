"""The digests in names of cells and records, and the version that is part of all of them."""

from __future__ import annotations

import hashlib
import json

NUMERICS_VERSION = 1
"""Raised when training or attacking changes in a way that alters results; part of every digest."""
SAMPLING_VERSION = 2
"""Of which samples stand for all; part of digests where some do. 1 spaced them evenly over all,
whatever the order of their classes, and held out a rounded share of every class.
"""


def digest_of(data: object, length: int) -> str:
    """The first hex digits of the SHA-256 of plain data, whatever the order of its keys."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]
