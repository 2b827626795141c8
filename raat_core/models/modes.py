"""The modes in which models are used, and BatchNorm's running statistics in training mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """The model in training or evaluation mode inside the block, as before after it."""
    before = model.training
    if before != training:
        model.train(training)
    try:
        yield
    finally:
        if before != training:
            model.train(before)


@contextmanager
def statistics_at_rest(model: nn.Module) -> Iterator[None]:
    """Inside the block BatchNorm in training mode leaves its running statistics as they are."""
    norms = tracked_norms(model)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def tracked_norms(model: nn.Module) -> list[_BatchNorm]:
    """The model's BatchNorms that have running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
