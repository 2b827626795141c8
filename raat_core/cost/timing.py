"""How long work took on some hardware: what hours are estimated from. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from raat_core.cells.catalogue import ArchitectureName
from raat_core.cells.evaluations import Evaluation
from raat_core.files.checksums import read_json
from raat_core.interface.operations import Operations
from raat_core.interface.registry import attack_class
from raat_core.specs.precision import FP32, Precision
from raat_core.validation import Frozen, Growing, added, parse

Kind: TypeAlias = Literal["training", "reduced-training", "pgd", "autoattack"]
"""Kinds of work that keep hardware differently busy: AutoAttack's batches shrink as it goes, and
training in less than fp32 has other units to work with."""


def kind_of_training(precision: Precision) -> Kind:
    """What a training in this arithmetic counts as."""
    return "training" if precision == FP32 else "reduced-training"


def kind_of(evaluation: Evaluation) -> Kind:
    """What an attack counts as; clean images count as PGD."""
    return attack_class(evaluation.kind).work


class Counted(Frozen):
    """FLOP of a model for one image, as `Operations`."""

    forward: float = Field(gt=0)
    stem: float = Field(ge=0)

    @property
    def operations(self) -> Operations:
        """To compute with."""
        return Operations(self.forward, self.stem)


class Timing(Growing):
    """Work of one kind that was timed."""

    architecture: ArchitectureName
    image_shape: tuple[int, int, int] = Field(description="Channels, height, width.")
    kind: Kind
    batch_size: int = Field(ge=1)
    flop: float = Field(gt=0, description="Counted, see raat_core/interface/operations.py.")
    seconds: float = Field(gt=0)
    operations: Counted | None = added(
        None, "Of the architecture, if it does not say them itself: counted."
    )


class TimingFile(Frozen):
    """What `python -m raat_core measure` writes."""

    hardware: dict[str, Any] = Field(description="As in manifests.")
    finished: str = Field(description="When, in UTC.")
    versions: dict[str, str] = Field(description="Of Python, this package and torch.")
    timings: tuple[Timing, ...] = Field(min_length=1)


def read_timings(path: Path) -> TimingFile:
    """A file that `measure` wrote.

    Raises:
        UserError: it cannot be read, or is not one.
    """
    return parse(TimingFile, read_json(path), str(path))


def hardware_name(facts: Mapping[str, Any]) -> str:
    """The GPU's name, or the processor and the number of its threads; empty if neither is told."""
    if facts.get("device") == "cuda":
        return str(facts.get("gpu", ""))
    threads, processor = facts.get("threads"), facts.get("processor")
    if not processor or not threads:
        return ""
    return f"{processor}, {threads} thread{'s' if threads != 1 else ''}"
