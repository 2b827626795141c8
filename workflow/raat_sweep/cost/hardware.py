"""Hardware by name, how fast it is, and what is assumed of it where nothing was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def assumed_pace(hardware: str) -> Pace:
    """From the data sheet of a GPU; anything else is taken for `ONE_CORE`."""
    if hardware not in PEAK_TFLOPS:
        return Pace(CPU_FLOP_PER_SECOND, "assumed, not measured")
    peak = PEAK_TFLOPS[hardware]
    return Pace(
        ASSUMED_EFFICIENCY * peak * 1e12,
        f"assumed, not measured: {ASSUMED_EFFICIENCY:.0%} of its {peak:g} TFLOP/s in fp32",
    )
