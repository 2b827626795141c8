"""How fast hardware computes cells' operations: from runs, from `measure`, or from data sheets.

Others write these files at the same time: none is trusted to be there or whole.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import read_history
from raat_core.cells.spec import read_cell
from raat_core.cost.flop import Accuracies, evaluation_flop, training_flop
from raat_core.cost.timing import Kind, hardware_name, kind_of, kind_of_training, read_timings
from raat_core.errors import UserError
from raat_core.files.checksums import read_json, read_metadata
from raat_core.interface.operations import ImageShape
from raat_sweep.results.listing import names_in

PEAK_TFLOPS: dict[str, float] = {
    "V100": 15.7,
    "A100-40GB": 19.5,
    "A100-80GB": 19.5,
    "H100-SXM": 67.0,
    "H100-PCIe": 51.0,
    "H200": 67.0,
    "RTX-3090": 35.6,
    "RTX-4090": 82.6,
    "A6000": 38.7,
    "L40S": 91.6,
    "T4": 8.1,
}
"""fp32 without tensor cores, as the vendor's data sheets have it: TF32 is off in this project."""
ASSUMED_EFFICIENCY = 0.4
"""Of the peak, where nothing was measured."""
SLOWEST_GPU = "T4"
DEFAULT_GPU = "A100-80GB"
ONE_CORE = "one core of a CPU"
CPU_FLOP_PER_SECOND = 5e9
"""Of one core, assumed for images so small that the time goes into calls."""
MOST_CELLS = 500
"""So many finished cells, evenly spread, say how fast hardware is; more would not say it better."""
_evaluation: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)


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


@dataclass(frozen=True)
class Pace:
    """FLOP/s of some work on some hardware, and where they are from."""

    flop_per_second: float
    basis: str
    distance: float = math.inf
    """|ln| of the ratio of this model's operations to those of the one that was measured."""

    @property
    def is_measured(self) -> bool:
        """Whether anything was timed on the hardware."""
        return math.isfinite(self.distance)


@dataclass(frozen=True)
class Errors:
    """How far estimates are from what was measured, |estimate / measured - 1|, none empty."""

    kind: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        return (
            f"on {len(self.values)} {self.kind}: median {statistics.median(self.values):.0%}, "
            f"largest {max(self.values):.0%}"
        )


Model: TypeAlias = tuple[str, ImageShape]
"""An architecture and the shape (C, H, W) of its images."""


@dataclass(frozen=True)
class Throughput:
    """What was timed, by hardware; and data sheets, for hardware that was not."""

    timed: Sequence[Timed] = ()
    accuracies: Mapping[str, Accuracies] = field(default_factory=dict)
    """Of trained cells by name."""
    warnings: tuple[str, ...] = ()

    @cached_property
    def _by_hardware(self) -> dict[str, list[Timed]]:
        found = defaultdict(list)
        for one in self.timed:
            found[one.hardware].append(one)
        return dict(found)

    @cached_property
    def _groups(self) -> dict[tuple[str, Model], list[Timed]]:
        """By hardware and model, sorted by rate."""
        found = defaultdict(list)
        for one in sorted(self.timed, key=lambda one: one.rate):
            found[one.hardware, one.model].append(one)
        return dict(found)

    def measured(self, on_gpu: bool | None = None) -> list[str]:
        """Names of the hardware that something was timed on, the most often timed first."""
        counts = Counter(
            one.hardware for one in self.timed if on_gpu is None or one.on_gpu == on_gpu
        )
        return [name for name, _ in counts.most_common()]

    def find(self, name: str) -> str:
        """The hardware that a user means: measured or of the data sheets, in part or in full.

        Raises:
            UserError: none or several have this name; names all that there are.
        """
        for known in (self.measured(), [*PEAK_TFLOPS, ONE_CORE]):
            same = [one for one in known if one.casefold() == name.casefold()]
            matches = same or [one for one in known if name.casefold() in one.casefold()]
            if len(matches) == 1:
                return matches[0]
        measured = ", ".join(self.measured()) or "none"
        raise UserError(
            f"--gpu '{name}': must name one of those measured ({measured}) or one of the data "
            f"sheets: {', '.join(PEAK_TFLOPS)}"
        )

    def default(self, on_gpu: bool) -> str:
        """The hardware that was timed most, or what is assumed without."""
        return next(iter(self.measured(on_gpu)), DEFAULT_GPU if on_gpu else ONE_CORE)

    def is_gpu(self, hardware: str) -> bool:
        """Whether it is one."""
        timed = self._by_hardware.get(hardware)
        return timed[0].on_gpu if timed else hardware in PEAK_TFLOPS

    def pace(
        self, hardware: str, architecture: str, shape: ImageShape, kind: Kind, without: str = ""
    ) -> Pace:
        """How fast some work goes on some hardware.

        Args:
            hardware: measured, of the data sheets, or `ONE_CORE`.
            architecture: by name.
            shape: of the images, (C, H, W).
            kind: of work.
            without: a cell whose own runs are left out.
        """
        for other, distance in self._nearest(hardware, (architecture, shape)):
            timed = self._groups[hardware, other]
            of_kind = [one for one in timed if one.kind == kind]
            for group, instead in ((of_kind, ""), (timed, " of other work")):
                runs = [one.rate for one in group if one.cell and one.cell != without]
                alone = [one.rate for one in group if not one.cell]
                for rates, source in ((runs, "run{s}"), (alone, "timing{s} by `measure`")):
                    if rates:
                        basis = _counted(len(rates), source) + instead
                        if other != (architecture, shape):
                            basis += f" of {describe_model(other)}"
                        return Pace(statistics.median(rates), basis, distance)
        return _assumed(hardware)

    def _nearest(self, hardware: str, model: Model) -> list[tuple[Model, float]]:
        """What was timed on some hardware, the nearest in operations first, and how far it is.

        Small models keep a GPU waiting for work: how much there is tells more than an
        architecture's name.
        """
        own = _forward_flop(model)
        distances = {
            other: abs(math.log(_forward_flop(other) / own))
            for where, other in self._groups
            if where == hardware
        }
        return sorted(
            distances.items(), key=lambda item: (item[0] != model, item[1], item[0][0] != model[0])
        )

    def slowest(self, on_gpu: bool, architecture: str, shape: ImageShape, kind: Kind) -> float:
        """FLOP/s that any hardware here will reach: of the slowest measured, or assumed.

        What was measured on models of another size does not count: a limit must not follow it.
        """
        paces = (self.pace(name, architecture, shape, kind) for name in self.measured(on_gpu))
        like = [pace.flop_per_second for pace in paces if pace.distance < math.log(2)]
        return min(like, default=_assumed(SLOWEST_GPU if on_gpu else ONE_CORE).flop_per_second)

    def errors(self, hardware: str) -> list[Errors]:
        """Every cell that ran on some hardware, estimated from the runs of the others.

        Of trainings, and of all attacks on a cell together; nothing for a cell that nothing but
        data sheets would speak of.
        """
        parts = {
            "trainings": ("training", "reduced-training"),
            "cells' attacks": ("pgd", "autoattack"),
        }
        everything = self._by_hardware.get(hardware, [])
        found: dict[str, list[float]] = defaultdict(list)
        for cell, timed in _by_cell(everything).items():
            if len(timed) == len(everything):
                continue
            first = timed[0]
            paces = {
                kind: self.pace(hardware, first.architecture, first.image_shape, kind, without=cell)
                for kind in {one.kind for one in timed}
            }
            for part, kinds in parts.items():
                own = [one for one in timed if one.kind in kinds]
                if own:
                    estimate = sum(one.flop / paces[one.kind].flop_per_second for one in own)
                    found[part].append(abs(estimate / sum(one.seconds for one in own) - 1))
        return [Errors(part, tuple(found[part])) for part in parts if found[part]]


def _by_cell(timed: Iterable[Timed]) -> dict[str, list[Timed]]:
    found = defaultdict(list)
    for one in timed:
        if one.cell:
            found[one.cell].append(one)
    return dict(found)


def _forward_flop(model: Model) -> float:
    architecture, shape = model
    # The last layer hardly counts: any number of classes does.
    return ARCHITECTURES[architecture].operations(shape, 10).forward


def _counted(count: int, source: str) -> str:
    if count == 1:
        return f"one {source.format(s='')}"
    return f"median of {count} {source.format(s='s')}"


def _assumed(hardware: str) -> Pace:
    if hardware not in PEAK_TFLOPS:
        return Pace(CPU_FLOP_PER_SECOND, "assumed, not measured")
    peak = PEAK_TFLOPS[hardware]
    return Pace(
        ASSUMED_EFFICIENCY * peak * 1e12,
        f"assumed, not measured: {ASSUMED_EFFICIENCY:.0%} of its {peak:g} TFLOP/s in fp32",
    )


def read_throughput(results: Path, cells: Mapping[str, Cell], most: int = MOST_CELLS) -> Throughput:
    """What the files in a results folder say: of finished cells, and in `throughput/`.

    Args:
        results: the folder.
        cells: known ones by name; others in the folder are read from their specs.
        most: so many finished cells, evenly spread, are read.
    """
    timed: list[Timed] = []
    accuracies: dict[str, Accuracies] = {}
    cell_folders = [CellFolder(results / "cells" / name) for name in names_in(results / "cells")]
    for folder in _spread([folder for folder in cell_folders if folder.manifest.exists()], most):
        name = folder.path.name
        try:
            manifest = read_json(folder.manifest)
            cell = cells.get(name) or read_cell(folder)
            trained, final = _accuracies(folder, manifest)
            accuracies[name] = final
            timed += _timed_training(cell, manifest, trained)
            timed += _timed_attacks(cell, folder, final)
        except (UserError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            continue  # Damaged, or of another version.
    measured, warnings = _timed_by_measure(results / "throughput")
    return Throughput([*timed, *measured], accuracies, tuple(warnings))


def read_accuracies(folder: CellFolder) -> Accuracies | None:
    """Of a trained cell's best checkpoint on the split that chose it; None if it does not say."""
    try:
        return _accuracies(folder, read_json(folder.manifest))[1]
    except (UserError, LookupError, TypeError, ValueError):
        return None


def _spread(folders: Sequence[CellFolder], most: int) -> list[CellFolder]:
    step = max(1.0, len(folders) / most)
    return [folders[int(index * step)] for index in range(min(most, len(folders)))]


def _accuracies(folder: CellFolder, manifest: Mapping[str, Any]) -> tuple[Accuracies, Accuracies]:
    """Means over the epochs, and of the best one; shares, not percent."""
    header, rows = read_history(folder)
    epoch, clean, robust = map(header.index, ("epoch", "clean_accuracy", "robust_accuracy"))
    evaluated = {
        int(row[epoch]): Accuracies(float(row[clean]) / 100, float(row[robust]) / 100)
        for row in rows
        if row[clean] and row[robust]
    }
    means = Accuracies(
        statistics.mean(one.clean for one in evaluated.values()),
        statistics.mean(one.robust for one in evaluated.values()),
    )
    return means, evaluated[manifest["best"]["epoch"]]


def _timed_training(
    cell: Cell, manifest: Mapping[str, Any], accuracies: Accuracies
) -> Iterator[Timed]:
    """Nothing if it moved from one hardware to another."""
    names = {hardware_name(session) for session in manifest["sessions"]}
    if len(names) == 1:
        flop, seconds = training_flop(cell, accuracies), float(manifest["train_seconds"])
        kind = kind_of_training(cell.precision)
        yield from _timed(cell, manifest["sessions"][-1], kind, flop, seconds)


def _timed_attacks(cell: Cell, folder: CellFolder, accuracies: Accuracies) -> Iterator[Timed]:
    for path in sorted((folder.path / "records").glob("*.safetensors")):
        try:
            metadata = read_metadata(path)
            evaluation = _evaluation.validate_python(metadata["attack"])
            hardware, seconds = metadata["hardware"], float(metadata["seconds"])
        except (UserError, LookupError, ValidationError, TypeError, ValueError):
            continue
        flop = evaluation_flop(cell, evaluation, accuracies)
        yield from _timed(cell, hardware, kind_of(evaluation), flop, seconds)


def _timed(
    cell: Cell, hardware: Mapping[str, Any], kind: Kind, flop: float, seconds: float
) -> Iterator[Timed]:
    """Nothing if the time is too short to be known, or the hardware is not told."""
    name = hardware_name(hardware)
    if name and math.isfinite(seconds) and seconds > 0:
        shape = DATA_SETS[cell.dataset].image_shape
        on_gpu = hardware.get("device") == "cuda"
        yield Timed(name, on_gpu, cell.architecture, shape, kind, flop, seconds, cell.name)


def _timed_by_measure(folder: Path) -> tuple[list[Timed], list[str]]:
    timed, warnings = [], []
    for name in names_in(folder):
        if not name.endswith(".json"):
            continue
        try:
            file = read_timings(folder / name)
        except UserError as error:
            warnings.append(f"left out: {str(error).splitlines()[0]}")
            continue
        hardware, on_gpu = hardware_name(file.hardware), file.hardware.get("device") == "cuda"
        timed += [
            Timed(
                hardware=hardware,
                on_gpu=on_gpu,
                architecture=timing.architecture,
                image_shape=timing.image_shape,
                kind=timing.kind,
                flop=timing.flop,
                seconds=timing.seconds,
                cell="",
            )
            for timing in file.timings
        ]
    return timed, warnings


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
