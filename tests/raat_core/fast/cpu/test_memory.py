"""What becomes of freed memory, in a process of its own: how it is handled is a process's."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from raat_core.fast.cpu.memory import keep_freed_memory

SCRIPT = """
import torch
from raat_core.fast.cpu import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) / 256

torch.ones(1)
START = resident()
"""
TELL = """
blocks = [torch.ones(mib * 2**18) for mib in (24, 32, 48, 64)]
print(resident() - START)
del blocks
print(resident() - START)
"""
TRAIN = """
from raat_core.models.build import build_model
memory.keep_freed_memory()
torch.manual_seed(0)
model = build_model("resnet-mini", 3, 10, 0)
images = torch.rand(128, 3, 32, 32)
before = resident()
for _ in range(3):
    for _ in range(2):
        attacked = images.clone().requires_grad_()
        torch.autograd.grad(model.eval()(attacked).sum(), attacked)
    model.train()
    (model(images) - model(attacked)).square().sum().backward()
    model.zero_grad()
print(resident() - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    keep_freed_memory.cache_clear()
    yield
    keep_freed_memory.cache_clear()


def told(body: str) -> list[float]:
    """What the body printed, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


@glibc
def test_without_asking_nothing_changes() -> None:
    with_blocks, after = told(TELL)
    assert with_blocks > 160
    assert after < 20


@glibc
def test_freed_memory_is_kept() -> None:
    with_blocks, after = told("assert memory.keep_freed_memory()" + TELL)
    assert with_blocks > 160
    assert after > 160


@glibc
def test_small_blocks_leave_room_for_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # Which few blocks a thread holds back for itself is chance, and with it a part of the peak.
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
    (peak,) = told(TRAIN)
    (without,) = told("memory._SET_ASIDE = {range(24, 25): 1}" + TRAIN)
    assert peak < 0.97 * without


@glibc
def test_small_blocks_take_little_and_are_set_aside_once() -> None:
    before, once, twice = told(
        "print(resident())\n" + 2 * "memory.keep_freed_memory(); print(resident())\n"
    )
    assert once - before < 60
    assert twice - once < 1


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.PyDLL", lambda _: SimpleNamespace(mallopt=None, malloc=None))
    assert not keep_freed_memory()


def test_what_the_library_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(
        gnu_get_libc_version=None,
        mallopt=lambda *_: 0,
        malloc=SimpleNamespace(),
        free=SimpleNamespace(),
    )
    monkeypatch.setattr("ctypes.PyDLL", lambda _: library)
    assert not keep_freed_memory()
