"""Every random draw is a function of a seed and of what it is for; there is no state to save."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed from a cell's or attack's seed and a purpose such as ("shuffle", epoch)."""
    text = "|".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(device: torch.device | str, seed: int, *purpose: str | int) -> torch.Generator:
    """A generator on `device` for one purpose."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """NumPy's generator for one purpose, for distributions that torch draws without generators."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, *purpose)))


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global generators inside the block, for code that takes no generator."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, *purpose))
        yield


@contextmanager
def seeded_on(device: torch.device, seed: int, *purpose: str | int) -> Iterator[None]:
    """As `seeded`, of the CPU's and one device's generator alone: quick enough for every step."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    before = [each.get_state() for each in generators]
    try:
        for each in generators:
            each.manual_seed(derive_seed(seed, *purpose))
        yield
    finally:
        for each, state in zip(generators, before, strict=True):
            each.set_state(state)


class NamedDraws:
    """The draws of one purpose on one device; see `raat_core.interface.draws.Draws`."""

    def __init__(self, device: torch.device | str, seed: int, *purpose: str | int) -> None:
        self._device, self._seed, self._purpose = device, seed, purpose
        self._generator: torch.Generator | None = None
        self._numpy: np.random.Generator | None = None

    @property
    def generator(self) -> torch.Generator:
        """See `Draws.generator`."""
        if self._generator is None:
            self._generator = generator(self._device, self._seed, *self._purpose)
        return self._generator

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """See `Draws.uniform`."""
        return torch.empty(shape, device=self._device).uniform_(low, high, generator=self.generator)

    def gaussian(self, *shape: int) -> Tensor:
        """See `Draws.gaussian`."""
        return torch.empty(shape, device=self._device).normal_(generator=self.generator)

    def integers(self, *shape: int, below: int) -> Tensor:
        """See `Draws.integers`."""
        return torch.randint(below, shape, generator=self.generator, device=self._device)

    def permutation(self, count: int) -> Tensor:
        """See `Draws.permutation`."""
        return torch.randperm(count, generator=self.generator, device=self._device)

    def beta(self, concentration: float, size: int) -> Tensor:
        """See `Draws.beta`; torch draws it without generators only, and on no device the same."""
        if self._numpy is None:
            self._numpy = numpy_generator(self._seed, *self._purpose)
        values = self._numpy.beta(concentration, concentration, size)
        return torch.from_numpy(values).to(self._device, torch.float32)
