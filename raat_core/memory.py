"""What becomes of memory that tensors on the CPU have freed. Needs no torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Of glibc's malloc.h."""
_LARGE = 16 * 2**20
"""Bytes from which on a block may get pages of its own."""
_MANY = 65536
"""glibc's own limit of how many may."""


class _Heap:
    """The process's heap: as the C library handles it, until `keep` is called."""

    def __init__(self) -> None:
        self._mallopt: Callable[[int, int], int] | None = None
        self._own_pages = 0

    def keep(self) -> bool:
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError, TypeError):
            return False
        settings = ((_M_TRIM_THRESHOLD, -1), (_M_MMAP_THRESHOLD, _LARGE), (_M_MMAP_MAX, 0))
        if not all(mallopt(*setting) == 1 for setting in settings):
            return False
        self._mallopt, self._own_pages = mallopt, 0
        return True

    @contextmanager
    def large_blocks(self, own_pages: int) -> Iterator[None]:
        if self._mallopt is None:
            yield
            return
        before, self._own_pages = self._own_pages, own_pages
        self._mallopt(_M_MMAP_MAX, own_pages)
        try:
            yield
        finally:
            self._own_pages = before
            self._mallopt(_M_MMAP_MAX, before)


_heap = _Heap()


def keep_freed_memory() -> bool:
    """Have the C library keep what tensors free for the next ones; says whether it will.

    By default glibc gives large blocks back to the system at once. A training step on the CPU frees
    and allocates gigabytes of activations, and clearing each new page takes the system long
    (docs/speed.md). What the process holds grows to its peak and stays there. Elsewhere than on
    glibc nothing is changed.
    """
    return _heap.keep()


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """After `keep_freed_memory`, for a block that remembers activations for its backward.

    Its blocks are many, large and of several sizes: kept in one heap they leave holes that do not
    fit the next, and the peak grows by a third. What the heap has no room for gets pages of its
    own, which go back to the system with it.
    """
    with _heap.large_blocks(own_pages=_MANY):
        yield


@contextmanager
def large_blocks_kept() -> Iterator[None]:
    """Inside `large_blocks_returned`, for a block that frees and allocates the same sizes again."""
    with _heap.large_blocks(own_pages=0):
        yield
