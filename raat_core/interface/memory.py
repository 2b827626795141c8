"""What a method remembers of every training sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from raat_core.interface.facts import CellFacts
from raat_core.interface.step import Step

if TYPE_CHECKING:
    from torch import Tensor


class SampleMemory:
    """A float32 tensor (cell.samples, *shape) that a step reads, and changes when it is done.

    `note` may be called in `loss`, however often that is computed; `keep` belongs into
    `after_step`, and `values` into `state`.
    """

    def __init__(self, cell: CellFacts, *shape: int, initial: float = 0.0) -> None:
        self._shape, self._initial = (cell.samples, *shape), initial
        self._values: Tensor | None = None
        self._noted: tuple[Tensor, Tensor] | None = None

    def at(self, step: Step) -> Tensor:
        """What is remembered of the step's samples, (B, *shape), on their device."""
        values = self._on_device_of(step)
        return values[step.indices]

    def note(self, step: Step, values: Tensor) -> None:
        """What is to be remembered of the step's samples, (B, *shape), once the step is done."""
        self._noted = step.indices, values.detach().float()

    def keep(self, step: Step) -> None:
        """Remember what was noted; nothing, if nothing was."""
        if self._noted is not None:
            indices, values = self._noted
            self._on_device_of(step)[indices] = values
            self._noted = None

    def state(self, name: str = "memory") -> dict[str, Tensor]:
        """For `Method.state`; empty before the first step."""
        return {} if self._values is None else {name: self._values}

    def load_state(self, state: Mapping[str, Tensor], name: str = "memory") -> None:
        """Take back what `state` returned."""
        self._values = state.get(name)

    def _on_device_of(self, step: Step) -> Tensor:
        if self._values is None:
            import torch

            device = step.indices.device
            self._values = torch.full(self._shape, self._initial, device=device)
        return self._values
