"""What becomes of freed memory, in a process of its own: how it is handled is a process's."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from raat_core import memory
from raat_core.memory import keep_freed_memory

SCRIPT = """
import torch
from raat_core import memory
from raat_core.memory import keep_freed_memory, large_blocks_kept, large_blocks_returned

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) / 256

torch.ones(1)
START = resident()

def tell():
    "What the process holds more than at its start, in MiB: with 168 MiB of blocks, without."
    blocks = [torch.ones(mib * 2**18) for mib in (24, 32, 48, 64)]
    with_blocks = resident() - START
    del blocks
    print(with_blocks, resident() - START)

"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def told(body: str) -> list[tuple[float, float]]:
    """What `tell` printed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body], capture_output=True, text=True, check=True
    )
    values = [float(word) for word in done.stdout.split()]
    assert all(taken > 160 for taken in values[::2])
    return list(zip(values[::2], values[1::2], strict=True))


@glibc
def test_without_asking_nothing_changes() -> None:
    ((_, after),) = told("with large_blocks_returned(), large_blocks_kept(): tell()")
    assert after < 20


@glibc
def test_freed_memory_is_kept_but_where_a_graph_is_remembered() -> None:
    body = """
assert keep_freed_memory()
memory._GROWS_TO = 0
with large_blocks_returned():
    tell()
    with large_blocks_kept():
        tell()
    tell()
"""
    (_, returned), (_, kept), (_, after) = told(body)
    assert returned < 20
    assert kept > 160
    assert after > 160


@glibc
def test_a_small_heap_grows_for_a_graph_until_it_is_large() -> None:
    body = """
keep_freed_memory()
memory._GROWS_TO = memory._heap._mallinfo().arena + 2**26
with large_blocks_returned():
    tell()  # Into the heap, which is large now.
    with large_blocks_kept():
        pass
    held = [torch.ones(64 * 2**18) for _ in range(4)]
    del held
    tell()
"""
    (_, first), (_, second) = told(body)
    assert first > 160
    assert second < 240


@glibc
def test_the_block_ends_as_it_began() -> None:
    body = """
keep_freed_memory()
memory._GROWS_TO = 0
try:
    with large_blocks_returned():
        with large_blocks_kept():
            pass
        tell()
        raise ValueError
except ValueError:
    tell()
"""
    (_, within), (_, after) = told(body)
    assert within < 20
    assert after > 160


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not keep_freed_memory()


def test_an_older_library_keeps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Library:
        @staticmethod
        def mallopt(parameter: int, value: int) -> int:
            asked.append((parameter, value))
            return 1

    monkeypatch.setattr("ctypes.CDLL", lambda _: Library)
    heap = memory._Heap()
    assert heap.keep()
    asked.clear()
    with heap.large_blocks(returned=True), heap.large_blocks(returned=False):
        pass
    assert [value for _, value in asked] == [65536, 0, 65536, 0]
