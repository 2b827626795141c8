"""Quicker ways to the same numbers but for rounding, each of which can be switched off."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

import torch

from raat_core.errors import UserError
from raat_core.validation import suggest

VARIABLE = "RAAT_FAST_PATHS"


@dataclass(frozen=True)
class FastPaths:
    """Which of them a process takes. What each brings: docs/speed.md."""

    fold: bool = True
    """BatchNorm folded into the convolutions where no gradient of weights is asked for."""
    winograd: bool = True
    """On a CPU, fp32 convolutions of many channels in training attacks and decisions with fewer
    products."""
    channels_last: bool = True
    """Tensors of images in memory with the channel running fastest."""
    repeats: bool = True
    """A forward that an objective repeats with the same weights is computed once."""
    cuda_graphs: bool = False
    """On a GPU, a training attack recorded once and replayed. Not measured yet: off."""

    @property
    def names(self) -> list[str]:
        """Those that are on."""
        return [each.name for each in fields(self) if getattr(self, each.name)]

    @property
    def memory_format(self) -> torch.memory_format:
        """Of models and images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def fast_paths_from_environment() -> FastPaths:
    """Those that RAAT_FAST_PATHS names, separated by blanks or commas; none: `plain`.

    Raises:
        UserError: it names something else.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return FastPaths()
    known = [each.name for each in fields(FastPaths)]
    names = text.replace(",", " ").split()
    if names == ["plain"]:
        names = []
    elif not names:
        return FastPaths()
    for name in names:
        if name in ("winograd", "cuda_graphs") and "fold" not in names:
            raise UserError(f"{VARIABLE} = {text!r}: {name} needs fold: it is for the copies")
        if name not in known:
            raise UserError(f"{VARIABLE} = {text!r}: {name!r}{suggest(name, [*known, 'plain'])}")
    return FastPaths(**{name: name in names for name in known})
