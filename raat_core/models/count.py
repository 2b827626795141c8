"""Operations of a model, as torch counts them while it runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from raat_core.cells.catalogue import DATA_SETS
from raat_core.interface.operations import ImageShape, Operations
from raat_core.models.build import build_model_for

_CONVOLUTIONS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip


def count_operations(architecture: str, dataset: str) -> Operations:
    """Of an architecture, for one image of a data set of the catalogue.

    On the meta device, where nothing is computed; a model that looks at values runs on the CPU.
    """
    shape = DATA_SETS[dataset].image_shape
    try:
        with torch.device("meta"):
            return _count(build_model_for(architecture, dataset, seed=0), shape)
    except Exception:  # Whatever it does there that needs values.
        return _count(build_model_for(architecture, dataset, seed=0), shape)


def _count(model: nn.Module, shape: ImageShape) -> Operations:
    """With gradients: without them torch fuses layers of attention, and does not count these."""
    first: list[tuple[nn.Module, tuple[Any, ...]]] = []

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not first:
            first.append((module, inputs))

    convolutions = [module for module in model.modules() if isinstance(module, _CONVOLUTIONS)]
    hooks = [module.register_forward_pre_hook(note) for module in convolutions]
    forward = _flop(model.eval(), torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return Operations(forward, _flop(first[0][0], *first[0][1]) if first else 0.0)


def _flop(module: nn.Module, *inputs: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return float(counter.get_total_flops())
