"""Work that was timed: a kind of work, on a model, on some hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.cost.timing import Kind
from raat_core.interface.operations import ImageShape

Model: TypeAlias = tuple[str, ImageShape]
"""An architecture and the shape (C, H, W) of its images."""


@dataclass(frozen=True)
class Timed:
    """Work that was timed."""

    hardware: str
    on_gpu: bool
    architecture: str
    image_shape: ImageShape
    kind: Kind
    flop: float
    seconds: float
    cell: str
    """In whose run; empty if it was timed by `measure`."""

    @property
    def model(self) -> Model:
        """What worked."""
        return self.architecture, self.image_shape

    @property
    def rate(self) -> float:
        """FLOP/s."""
        return self.flop / self.seconds


def describe_model(model: Model) -> str:
    """`ResNet-18, images of 3 × 32 × 32`."""
    architecture, shape = model
    return f"{ARCHITECTURES[architecture].title}, images of {' × '.join(map(str, shape))}"


def describe_work(model: Model, kind: Kind) -> str:
    """`AutoAttack on ResNet-18, images of 3 × 32 × 32`."""
    verb = {
        "training": "training",
        "reduced-training": "training, in less than fp32,",
        "pgd": "PGD and clean images on",
        "autoattack": "AutoAttack on",
    }
    return f"{verb[kind]} {describe_model(model)}"
