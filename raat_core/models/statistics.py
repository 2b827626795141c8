"""BatchNorm's running statistics: left at rest, or moved again as one forward has moved them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def statistics_at_rest(model: nn.Module) -> Iterator[None]:
    """Inside the block BatchNorm in training mode leaves its running statistics as they are."""
    norms = _norms(model)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@dataclass(frozen=True)
class Movement:
    """What a forward in training mode did to the running statistics: keep a part, add something."""

    statistics: list[Tensor]
    """The model's own, each (C,)."""
    kept: list[float]
    """1 - momentum, for each of them."""
    added: list[Tensor]
    """momentum * the batch's statistics."""
    counters: list[Tensor]

    @torch.no_grad()
    def repeat(self) -> None:
        """Move the statistics as the same forward would once more."""
        torch._foreach_mul_(self.statistics, self.kept)
        torch._foreach_add_(self.statistics, self.added)
        if self.counters:
            torch._foreach_add_(self.counters, 1)


def watch_statistics(
    model: nn.Module, forward: Callable[[], Tensor]
) -> tuple[Tensor, Movement | None]:
    """A forward of `model` in training mode, and what it did to BatchNorm's statistics.

    None if the same forward may do more than that: it drew random numbers, or the model keeps more
    than parameters and BatchNorm's statistics with a fixed momentum.
    """
    norms = _norms(model)
    if not _keeps_nothing_else(model, norms):
        return forward(), None
    # Their data: autograd would take its own copies of the statistics for spoiled, of which a
    # backward in training mode makes no use.
    both = [(norm, each) for norm in norms for each in (norm.running_mean, norm.running_var)]
    statistics = [each.data for _, each in both if each is not None]
    kept = [1 - (norm.momentum or 0.0) for norm, each in both if each is not None]
    before = torch._foreach_mul(statistics, kept)
    draws = _draws(model)
    result = forward()
    if _draws(model) != draws:
        return result, None
    added = torch._foreach_sub(statistics, before)
    counters = [norm.num_batches_tracked for norm in norms]
    counted = [counter for counter in counters if counter is not None]
    return result, Movement(statistics, kept, list(added), counted)


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def _keeps_nothing_else(model: nn.Module, norms: list[_BatchNorm]) -> bool:
    known = {id(tensor) for norm in norms for tensor in norm.buffers()}
    known |= {id(parameter) for parameter in model.parameters()}
    state = model.state_dict(keep_vars=True).values()
    fixed = all(norm.momentum is not None and norm.training for norm in norms)
    return fixed and len(norms) > 0 and all(id(tensor) in known for tensor in state)


def _draws(model: nn.Module) -> list[bytes]:
    """Where torch's own generators stand."""
    states = [torch.get_rng_state()]
    device = next(model.parameters()).device
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return [state.numpy().tobytes() for state in states]
