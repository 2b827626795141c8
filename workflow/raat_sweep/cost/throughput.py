"""How fast hardware computes cells' operations: as was timed, or as data sheets say."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from raat_core.cost.flop import Accuracies, operations
from raat_core.cost.timing import Kind
from raat_core.errors import UserError
from raat_core.interface.operations import ImageShape
from raat_sweep.cost.hardware import (
    DEFAULT_GPU,
    ONE_CORE,
    PEAK_TFLOPS,
    SLOWEST_GPU,
    Pace,
    assumed_pace,
)
from raat_sweep.cost.timed_work import Model, Timed, describe_model


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
    def _by_model(self) -> dict[tuple[str, Model], list[Timed]]:
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

    def timed_on(self, hardware: str) -> Sequence[Timed]:
        """What was timed on some hardware."""
        return self._by_hardware.get(hardware, [])

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
        timed = self.timed_on(hardware)
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
        model = architecture, shape
        for other, distance in self._nearest(hardware, model):
            whose = "" if other == model else f" of {describe_model(other)}"
            for rates, basis in _rates(self._by_model[hardware, other], kind, without):
                if rates:
                    return Pace(statistics.median(rates), basis + whose, distance)
        return assumed_pace(hardware)

    def _nearest(self, hardware: str, model: Model) -> list[tuple[Model, float]]:
        """What was timed on some hardware, the nearest in operations first, and how far it is.

        Small models keep a GPU waiting for work: how much there is tells more than an
        architecture's name.
        """
        own = _forward_flop(model)
        distances = {
            other: abs(math.log(_forward_flop(other) / own))
            for where, other in self._by_model
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
        return min(like, default=assumed_pace(SLOWEST_GPU if on_gpu else ONE_CORE).flop_per_second)


def _rates(timed: Sequence[Timed], kind: Kind, without: str) -> Iterator[tuple[list[float], str]]:
    """What may be gone by, the best first: rates, which may be none, and what they are."""
    of_kind = [one for one in timed if one.kind == kind]
    for group, instead in ((of_kind, ""), (timed, " of other work")):
        runs = [one.rate for one in group if one.cell and one.cell != without]
        yield runs, _counted(len(runs), "run{s}") + instead
        alone = [one.rate for one in group if not one.cell]
        yield alone, _counted(len(alone), "timing{s} by `measure`") + instead


def _forward_flop(model: Model) -> float:
    architecture, shape = model
    # The last layer hardly counts: any number of classes does.
    return operations(architecture, shape, 10).forward


def _counted(count: int, source: str) -> str:
    if count == 1:
        return f"one {source.format(s='')}"
    return f"median of {count} {source.format(s='s')}"
