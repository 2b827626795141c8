"""RAAT: reduced perturbation for boundary samples, and DICAR (Section 4, Table 4).

BOUND and DICAR, the paper's ablations (Figure 5a), are this method with `dicar` or
`reduce_boundary` switched off.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import BatchNormMode, Step, register
from raat_core.interface.l2 import L2Gradient, L2Start, l2_gradient, l2_start
from raat_core.interface.operations import Passes
from raat_core.methods.alignment_settings import OnlinePartitionSettings
from raat_core.methods.robust_alignment import OnlinePartition

if TYPE_CHECKING:
    from torch import Tensor


class RaatSettings(OnlinePartitionSettings):
    """Settings of RAAT."""

    name: Literal["raat"] = "raat"
    clean_forward: BatchNormMode = Field(
        "train",
        description="BatchNorm's mode in the forward of the clean augmentations for DICAR's right "
        "side. train: a forward of its own that BatchNorm's statistics see, as in the released "
        "code; eval: with running statistics, which it leaves alone.",
    )
    l2_start: L2Start | None = l2_start("pixel-box")
    l2_gradient: L2Gradient | None = l2_gradient("advertorch")


@register
class Raat(OnlinePartition):
    """CE on x' or x'' + lambda DICAR."""

    Settings = RaatSettings
    settings: RaatSettings
    version = 2
    smooths_labels = True

    def loss(self, step: Step) -> dict[str, Tensor]:
        perturbed = self.perturb(step, start="uniform")
        logits = step.forward(perturbed.supervised_images())
        terms = {"supervised": step.cross_entropy(logits, perturbed.labels).mean()}
        if self.settings.dicar:
            forward_clean = partial(step.forward, perturbed.clean, self.settings.clean_forward)
            dicar = self.dicar(step, perturbed, perturbed.kept, forward_clean)
            terms["dicar"] = self.settings.lam * dicar
        return terms

    def passes(self, steps: int, correct: float) -> Passes:
        passes = self.passes_of_perturbing(steps) + Passes(updates=2)
        if not self.settings.dicar:
            return passes
        return passes + self.passes_of_dicar(correct, forwards_clean=True)
