"""How the process keeps memory on the CPU. Needs no torch."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Have the C library keep what tensors free for the next ones; says whether it will.

    By default glibc gives large blocks back to the system at once. A training step on the CPU frees
    and allocates gigabytes of activations, and clearing each new page takes the system long
    (docs/speed.md). What the process holds grows to its peak and stays there, and the peak itself
    may grow where sizes of blocks vary. Elsewhere than on glibc nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) == 1 and mallopt(_M_TRIM_THRESHOLD, -1) == 1)
