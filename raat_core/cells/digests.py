"""The digests in names of cells and records, and the version that is part of all of them."""

from __future__ import annotations

import hashlib
import json

NUMERICS_VERSION = 1
"""Raised when training or attacking changes in a way that alters results; part of every digest."""


def digest_of(data: object, length: int) -> str:
    """The first hex digits of the SHA-256 of plain data, whatever the order of its keys."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]
