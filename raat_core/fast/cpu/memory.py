"""What becomes of memory that tensors on the CPU have freed. Needs no torch."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Protocol

_M_MXFAST, _M_TRIM_THRESHOLD, _M_MMAP_MAX = 1, -1, -4
"""Of glibc's malloc.h."""
_SETTINGS = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_MXFAST, 0))
"""No block gets pages of its own, none are given back, and what is freed joins its free neighbours
at once."""
_SET_ASIDE = {range(24, 256, 16): 4000, range(264, 1008, 16): 1000}
"""How many small blocks of each size in bytes: a step of RAAT++ takes up to 1,600 of the smaller
and 950 of the larger sizes (a WideResNet's and a ResNet-18's, torch 2.14)."""


class _Library(Protocol):
    def mallopt(self, parameter: int, value: int, /) -> int: ...
    def malloc(self, size: int, /) -> int | None: ...
    def free(self, block: int | None, /) -> None: ...


@cache
def keep_freed_memory() -> bool:
    """Have the C library keep what tensors free for the next ones; says whether it will.

    By default glibc gives large blocks back to the system at once. A training step on the CPU frees
    and allocates gigabytes of activations, and clearing each new page takes the system long
    (docs/speed.md). The process holds on to what it had at its peak. It is for all threads, and for
    good; elsewhere than on glibc nothing is changed.
    """
    library = _glibc()
    if library is None or not all(library.mallopt(*setting) == 1 for setting in _SETTINGS):
        return False
    _set_small_blocks_aside(library)
    return True


def _glibc() -> _Library | None:
    try:
        library = ctypes.PyDLL(None)
        _ = library.gnu_get_libc_version, library.mallopt
        library.malloc.restype = ctypes.c_void_p
        library.malloc.argtypes = [ctypes.c_size_t]
        library.free.argtypes = [ctypes.c_void_p]
    except (OSError, AttributeError, TypeError):
        return None
    return library


def _set_small_blocks_aside(library: _Library) -> None:
    """Free small blocks that lie between used ones, and so stay small.

    A tensor comes with small blocks: its description, its node of the graph. Where no free block is
    small, they are cut from the large one that a tensor has freed, which then no longer has room
    for a tensor of that size; the heap of a RAAT step grows by a third for it.
    """
    between = min(min(sizes) for sizes in _SET_ASIDE)
    blocks = []
    for sizes, count in _SET_ASIDE.items():
        for size in sizes:
            for _ in range(count):
                blocks.append(library.malloc(size))
                library.malloc(between)
    for block in blocks:
        library.free(block)
