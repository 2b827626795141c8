"""A step that is timed: of which side, of what, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from raat_core.cells.cell import Cell
from raat_core.interface.registry import method_class

LEARNING_RATE = 0.0
"""All sides update weights that stay as they are, and with them the share of samples that are
classified correctly: some methods forward those alone."""
CORRECT = 0.5


@dataclass(frozen=True)
class Job:
    """A step of which side, of what, and how."""

    side: str
    """ours, plain, or the path of a checkout of the released code."""
    method: str
    architecture: str = "resnet-18"
    batch_size: int = 128
    threads: int = 2
    device: str = "cpu"
    precision: str = "fp32"
    """Of both halves of a step, on our side; or `attack`: bf16 in the attack alone."""
    fold: bool = True
    winograd: bool = True
    channels_last: bool = True
    repeats: bool = True
    cuda_graphs: bool = False
    keep_memory: bool = True
    tunables: str = ""
    """glibc's, in the environment of the process."""
    input_gradients: bool = True
    """Off: the attack's backward computes the gradients of all weights as well, as advertorch's
    does; the textbook's where the methods' own releases call that."""

    def cell(self) -> Cell:
        """CIFAR-10's shapes, the paper's threat model and batch, the released objective."""
        method = method_class(self.method)
        variant = {"variant": "released"} if method.Settings.preset("released") else {}
        precision: Any = self.precision
        if precision == "attack":
            precision = {"attack": "bf16", "training": "fp32"}
        return Cell.model_validate(
            {
                "dataset": "cifar10",
                "architecture": self.architecture,
                "method": {"name": self.method, **variant},
                "threat_model": {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"},
                "recipe": {"batch_size": self.batch_size},
                "precision": precision,
            }
        )


def random_pixels(count: int) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=draws, dtype=torch.uint8)


Side: TypeAlias = tuple[Callable[[], None], Callable[[], float]]
"""A step, and the share of samples that the model classifies correctly."""


def predictions(model: nn.Module, pixels: Tensor) -> Tensor:
    """Classes in evaluation mode, in which the model stays."""
    model.eval()
    with torch.no_grad():
        parts = torch.split(pixels, 128)
        return torch.cat([model(some.float() / 255).argmax(1) for some in parts])


def half_correct(model: nn.Module, pixels: Tensor) -> Tensor:
    """Labels of which the model predicts every other one, and will: its statistics are fixed."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # They are computed and averaged as ever, with weight zero.
    labels = predictions(model, pixels)
    wrong = torch.arange(len(labels), device=labels.device) % 2 == 1
    return torch.where(wrong, (labels + 1) % 10, labels)
