"""Work on a GPU that is recorded once and replayed: a thousand kernels for the price of one launch.

Replaying reads and writes the memory of the recording: inputs are copied there, and weights that
change have to be written where they were (`raat_core.fast.folding`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import torch
from torch import Tensor

Work: TypeAlias = Callable[..., Tensor]
Record: TypeAlias = Callable[[Work, tuple[Tensor, ...]], Work]
"""Records work on inputs like these; what comes back replays it on others."""

RUNS_BEFORE_RECORDING = 2
"""Of the same work: a shape that comes once an epoch is not worth a recording at once."""
_WARM_UP = 3
"""Runs on the recording's stream, in which libraries choose kernels and allocate what they keep."""


class Recordings:
    """Recordings of work, one for every key and shape of its inputs."""

    def __init__(self, record: Record | None = None) -> None:
        self._record = record or record_cuda_graph
        self._runs: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, Work] = {}

    def run(self, key: Hashable, work: Work, *inputs: Tensor) -> Tensor:
        """What `work(*inputs)` returns.

        Args:
            key: of all that the work depends on but its inputs.
            work: draws no random numbers, waits for no result, and keeps nothing.
            inputs: on a GPU.
        """
        key = (key, tuple(_layout(tensor) for tensor in inputs))
        self._runs[key] += 1
        if key not in self._recorded:
            if self._runs[key] <= RUNS_BEFORE_RECORDING:
                return work(*inputs)
            self._recorded[key] = self._record(work, inputs)
        return self._recorded[key](*inputs)


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def record_cuda_graph(work: Work, inputs: tuple[Tensor, ...]) -> Work:
    """Record `work` as a CUDA graph; see `Recordings.run`."""
    held = [tensor.detach().clone() for tensor in inputs]
    with torch.cuda.device(inputs[0].device):
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                work(*held)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = work(*held)

    def replay(*inputs: Tensor) -> Tensor:
        torch._foreach_copy_(held, list(inputs))
        graph.replay()
        return result.clone()  # The next replay writes over it.

    return replay
