"""Which samples of a split stand for all of it: evenly spaced ones of every class.

What changes here raises `raat_core.cells.digests.SAMPLING_VERSION`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def evenly_spaced(total: int, count: int) -> Tensor:
    """`count` ascending positions in range(total), evenly spaced, int64."""
    return torch.arange(count) * total // max(count, 1)


def stratified(labels: Tensor, count: int, *, of_every_class: bool = False) -> Tensor:
    """Positions of `count` samples, ascending int64 on the CPU, in shares as the classes have.

    A class gets its share of `count`, rounded by the largest remainder (of equal ones the lower
    class goes first), and of its samples evenly spaced ones are taken.

    Args:
        labels: (N,) int64.
        count: from 0 to N.
        of_every_class: take one of a class whose share is none, if it has two or more; there are
            more than `count` then.
    """
    labels = labels.cpu()
    classes, sizes = torch.unique(labels, return_counts=True)
    taken = _shares(sizes, count)
    if of_every_class:
        taken = taken.maximum((sizes >= 2).long())
    chosen = [
        torch.nonzero(labels == label)[:, 0][evenly_spaced(size, share)]
        for label, size, share in zip(classes, sizes.tolist(), taken.tolist(), strict=True)
    ]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *chosen]).sort().values


def _shares(sizes: Tensor, count: int) -> Tensor:
    """Of `count`, how many fall to classes of these sizes, by the largest remainder."""
    total = max(int(sizes.sum()), 1)
    quotas = sizes * count
    shares = quotas // total
    left = count - int(shares.sum())
    # Stable: of equal remainders the lower class comes first.
    first = torch.argsort(quotas % total, descending=True, stable=True)[:left]
    shares[first] += 1
    return shares
