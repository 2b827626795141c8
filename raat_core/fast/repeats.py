"""A forward that an objective repeats is computed once; BatchNorm's statistics move as if twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raat_core.models.modes import tracked_norms

_OWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


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

    None if the same forward may do more than that: it drew from torch's generators, a norm was not
    called once, or the model's state has more in it than parameters and the statistics of torch's
    own BatchNorm with a fixed momentum. What is in no state (attributes, hooks) is not looked at.
    """
    norms = tracked_norms(model)
    if not _keeps_nothing_else(model, norms):
        return forward(), None
    # Their data: autograd would take its own copies of the statistics for spoiled, of which a
    # backward in training mode makes no use.
    both = [(norm, each) for norm in norms for each in (norm.running_mean, norm.running_var)]
    statistics = [each.data for _, each in both if each is not None]
    kept = [1 - (norm.momentum or 0.0) for norm, each in both if each is not None]
    before = torch._foreach_mul(statistics, kept)
    draws = _draws(model)
    with _calls(norms) as calls:
        result = forward()
    if _draws(model) != draws or [calls[norm] for norm in norms] != [1] * len(norms):
        return result, None
    added = torch._foreach_sub(statistics, before)
    counters = [norm.num_batches_tracked for norm in norms]
    counted = [counter for counter in counters if counter is not None]
    return result, Movement(statistics, kept, list(added), counted)


@contextmanager
def _calls(norms: list[_BatchNorm]) -> Iterator[Counter[nn.Module]]:
    """How often each of them is called inside the block."""
    found: Counter[nn.Module] = Counter()

    def count(norm: nn.Module, _: object) -> None:
        found[norm] += 1

    handles = [norm.register_forward_pre_hook(count) for norm in norms]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keeps_nothing_else(model: nn.Module, norms: list[_BatchNorm]) -> bool:
    if not all(type(norm) in _OWN and norm.training for norm in norms):
        return False
    if any(norm.momentum is None for norm in norms):
        return False
    statistics = [id(tensor) for norm in norms for tensor in norm.buffers()]
    known = {*statistics, *map(id, model.parameters())}
    state = model.state_dict(keep_vars=True).values()
    unshared = len(statistics) == len(set(statistics)) > 0
    return unshared and all(id(tensor) in known for tensor in state)


def _draws(model: nn.Module) -> list[bytes]:
    """Where torch's own generators stand."""
    states = [torch.get_rng_state()]
    device = next(model.parameters()).device
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return [state.numpy().tobytes() for state in states]
