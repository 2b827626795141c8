"""Random draws by name: functions of a seed and of what they are for, with no state to save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Draws(Protocol):
    """The draws of one name, on the device of the images.

    Every call goes on where the one before ended; draws of the same name begin anew, so that two
    uses in one step need two names.
    """

    @property
    def generator(self) -> torch.Generator:
        """For functions of torch that take one."""
        ...

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 of `shape`, uniform in [low, high)."""
        ...

    def gaussian(self, *shape: int) -> Tensor:
        """float32 of `shape`, of N(0, 1)."""
        ...

    def integers(self, *shape: int, below: int) -> Tensor:
        """int64 of `shape`, uniform in [0, below)."""
        ...

    def permutation(self, count: int) -> Tensor:
        """(count,) int64: the numbers from 0 to count - 1 in random order."""
        ...

    def beta(self, concentration: float, size: int) -> Tensor:
        """(size,) float32 of Beta(concentration, concentration)."""
        ...
