"""RAAT++: RAAT with MART's boosted cross-entropy and weighted KL term (Table 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from raat_core.interface import Start, Step, departure, forward_twice, register
from raat_core.interface.l2 import L2Gradient, L2Projection, l2_gradient, l2_projection
from raat_core.interface.losses import boosted_cross_entropy
from raat_core.interface.operations import Passes
from raat_core.methods.alignment_settings import OnlinePartitionSettings
from raat_core.methods.mart import weighted_kl
from raat_core.methods.robust_alignment import OnlinePartition, Perturbed

if TYPE_CHECKING:
    from torch import Tensor


class RaatPlusPlusSettings(OnlinePartitionSettings):
    """Settings of RAAT++."""

    name: Literal["raat++"] = "raat++"
    attack_start: Start = departure(
        "uniform", "gaussian", "Start of the inner attack: uniform in the ball, or 0.001 N(0, 1)."
    )
    kl_lambda: float | None = departure(
        None, 6.0, "Weight of the KL term; null: lambda, as for the JS term.", ge=0
    )
    repeat_forwards: bool = departure(
        False,
        True,
        "Forward x' again, mixed with x'', for the supervised term, and the clean views again for "
        "DICAR, whose indicator is decided anew after these forwards have moved BatchNorm's "
        "statistics; instead of x, x' and x'' once each.",
    )
    l2_gradient: L2Gradient | None = l2_gradient("mart")
    l2_projection: L2Projection | None = l2_projection("before-clipping")


@register
class RaatPlusPlus(OnlinePartition):
    """BCE on x' or x'' + lambda (DICAR + KL(p(x) || p(x')) (1 - p_y(x)))."""

    Settings = RaatPlusPlusSettings
    settings: RaatPlusPlusSettings
    version = 2

    def loss(self, step: Step) -> dict[str, Tensor]:
        settings = self.settings
        perturbed = self.perturb(step, settings.attack_start)
        labels = perturbed.labels
        adversarial_logits = step.forward(perturbed.adversarial)
        repeat = settings.repeat_forwards
        clean_logits, clean_again = forward_twice(step, perturbed.clean, repeat)
        logits = self._supervised_logits(step, perturbed, adversarial_logits)
        kl = weighted_kl(clean_logits, adversarial_logits, labels, settings.numerics).mean()
        terms = {
            "supervised": boosted_cross_entropy(logits, labels, settings.numerics).mean(),
            "kl": (settings.lam if settings.kl_lambda is None else settings.kl_lambda) * kl,
        }
        if settings.dicar:
            kept = self.kept(step) if repeat else perturbed.kept
            terms["dicar"] = settings.lam * self.dicar(step, perturbed, kept, clean_again)
        return terms

    def passes(self, steps: int, correct: float) -> Passes:
        settings = self.settings
        passes = self.passes_of_perturbing(steps) + Passes(updates=4)
        if settings.repeat_forwards or settings.reduce_boundary:
            passes += Passes(updates=2)
        if not settings.dicar:
            return passes
        if settings.repeat_forwards:
            passes += Passes(forwards=1 if settings.dicar_keeps == "natural" else 2)
        return passes + self.passes_of_dicar(correct, forwards_clean=False)

    def _supervised_logits(self, step: Step, perturbed: Perturbed, adversarial: Tensor) -> Tensor:
        """Logits (2B, K) at x'' where it is taken, else at x'."""
        if self.settings.repeat_forwards:
            return step.forward(perturbed.supervised_images())
        if not self.settings.reduce_boundary:
            return adversarial
        return step.forward(perturbed.reduced).where(perturbed.takes_reduced[:, None], adversarial)
