"""What becomes of memory that tensors on the CPU have freed. Needs no torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Of glibc's malloc.h."""
_LARGE = 16 * 2**20
"""Bytes from which on a block may get pages of its own."""
_MANY = 65536
"""How many may by glibc's default."""
_GROWS_TO = 850 * 2**20
"""Bytes of the heap from which on graphs do not make it grow; looked at as blocks begin and end."""


class _Information(ctypes.Structure):
    """glibc's `struct mallinfo2`; `arena` is what the heap has of the system, in bytes."""

    _fields_ = [("arena", ctypes.c_size_t), ("others", 9 * ctypes.c_size_t)]


class _Heap:
    """The process's heap: as the C library handles it, until `keep` is called."""

    def __init__(self) -> None:
        self._mallopt: Callable[[int, int], int] | None = None
        self._mallinfo: Any = None
        self._returns = False

    def keep(self) -> bool:
        try:
            library = ctypes.CDLL(None)
            mallopt = library.mallopt
        except (OSError, AttributeError, TypeError):
            return False
        settings = ((_M_MMAP_THRESHOLD, _LARGE), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))
        if not all(mallopt(*setting) == 1 for setting in settings):
            return False
        self._mallopt, self._mallinfo = mallopt, getattr(library, "mallinfo2", None)
        if self._mallinfo is not None:
            self._mallinfo.restype = _Information
        return True

    @contextmanager
    def large_blocks(self, *, returned: bool) -> Iterator[None]:
        before, self._returns = self._returns, returned
        self._apply()
        try:
            yield
        finally:
            self._returns = before
            self._apply()

    def _apply(self) -> None:
        if self._mallopt is None:
            return
        # Before glibc 2.33 nothing tells the heap's size: it is taken for large.
        large = self._mallinfo is None or self._mallinfo().arena >= _GROWS_TO
        self._mallopt(_M_MMAP_MAX, _MANY if self._returns and large else 0)


_heap = _Heap()


def keep_freed_memory() -> bool:
    """Have the C library keep what tensors free for the next ones; says whether it will.

    By default glibc gives large blocks back to the system at once. A training step on the CPU frees
    and allocates gigabytes of activations, and clearing each new page takes the system long
    (docs/speed.md). The process holds on to what it had at its peak, but for what
    `large_blocks_returned` says. It is for all threads; elsewhere than on glibc nothing is changed.
    """
    return _heap.keep()


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """After `keep_freed_memory`, for a block that remembers activations for its backward.

    Its blocks are many, large and of several sizes: kept in one heap they leave holes that do not
    fit the next, and the peak grows by a quarter. Once the heap holds 850 MiB, what it has no room
    for gets pages of its own, which go back to the system with it.
    """
    with _heap.large_blocks(returned=True):
        yield


@contextmanager
def large_blocks_kept() -> Iterator[None]:
    """Inside `large_blocks_returned`, for a block that frees and allocates the same sizes again."""
    with _heap.large_blocks(returned=False):
        yield
