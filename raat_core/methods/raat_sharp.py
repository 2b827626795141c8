"""RAAT#: RAAT in ReBAT's framework, the averaged model deciding about samples (Section 5.3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import Start, Step, departure, register
from raat_core.interface.operations import Passes
from raat_core.methods.alignment_settings import RobustAlignmentSettings
from raat_core.methods.averaging import ConsultedAverage, ConsultedAverageSettings
from raat_core.methods.robust_alignment import (
    Correct,
    Perturbed,
    RobustAlignment,
)

if TYPE_CHECKING:
    from torch import Tensor


class RaatSharpSettings(ConsultedAverageSettings, RobustAlignmentSettings):
    """Settings of RAAT#."""

    name: Literal["raat#"] = "raat#"
    kl_lambda: float = Field(
        0.0,
        ge=0,
        description="Weight of ReBAT's KL term, which the released code has switched off.",
    )
    supervised_views: Literal["both", "first"] = departure(
        "both", "first", "Which augmentations the supervised term is computed on."
    )
    dicar_from: Literal["start", "averaging"] = departure(
        "start",
        "averaging",
        "DICAR counts from the first epoch on, or from the one in which averaging starts; before, "
        "its images are forwarded all the same, which BatchNorm's statistics see.",
    )
    separate_views: bool = departure(
        False,
        True,
        "Attack, judge and forward the two augmentations as two batches rather than as one, which "
        "BatchNorm in train mode tells apart. The supervised term's forward is one batch in any "
        "case.",
    )


@register
class RaatSharp(ConsultedAverage, RobustAlignment):
    """CE on x' or x'' + lambda DICAR + kl_lambda KL(p_average(x') || p(x'))."""

    Settings = RaatSharpSettings
    settings: RaatSharpSettings
    version = 2
    smooths_labels = True

    @property
    def supervised_views(self) -> int:
        return 1 if self.settings.supervised_views == "first" else 2

    def objective(self, step: Step) -> dict[str, Tensor]:
        settings = self.settings
        perturbed = self.perturb(step, start="uniform")
        logits = step.forward(perturbed.supervised_images())
        terms = {"supervised": step.cross_entropy(logits, perturbed.labels).mean()}
        if settings.dicar:
            terms["dicar"] = settings.lam * self._scheduled_dicar(step, perturbed)
        adversarial = perturbed.supervised_adversarial()
        if settings.kl_lambda > 0:
            logits = step.forward(adversarial)
            terms["kl"] = settings.kl_lambda * self.divergence(step, adversarial, logits)
        elif settings.repeat_forwards:
            step.logits(adversarial, "train")
        return terms

    def _scheduled_dicar(self, step: Step, perturbed: Perturbed) -> Tensor:
        forward_clean = partial(self._forward_clean, step, perturbed.clean)
        if self.settings.dicar_from == "start" or self.averages(step):
            return self.dicar(step, perturbed, perturbed.kept, forward_clean)
        import torch

        with torch.no_grad():  # Its weight is zero: the forwards count, a gradient would not.
            return 0 * self.dicar(step, perturbed, perturbed.kept, forward_clean)

    def decide(self, step: Step, images: Tensor) -> Tensor:
        return self.average_logits(step, images)

    def watched(self, step: Step) -> Tensor:
        return step.stacked_views()[0][: self.supervised_views * len(step.labels)]

    def attack(
        self, step: Step, start: Start, views: int, radius: float = 1.0, name: str = "attack"
    ) -> Tensor:
        import torch

        count, size = views * len(step.labels), self._batch_size(step)
        images, labels = (torch.split(whole[:count], size) for whole in step.stacked_views())
        attacked = [
            self.attacked(step, *batch, start=start, radius=radius, name=f"{name}{suffix}")
            for suffix, *batch in zip(("", "-2"), images, labels, strict=False)
        ]
        return torch.cat(attacked)

    def _batch_size(self, step: Step) -> int:
        """How many images of the stacked views are attacked, judged and forwarded at a time."""
        return len(step.labels) * (1 if self.settings.separate_views else self.views)

    def judge(self, step: Step, adversarial: Tensor, reduced: Tensor) -> Correct:
        """As the released code does: batch by batch, of each x, x' and x'' in this order."""
        import torch

        asked = self.asked(step, adversarial, reduced)
        asked = {name: asked[name] for name in ("clean", "adversarial", "reduced") if name in asked}
        found: dict[str, list[Tensor]] = {name: [] for name in asked}
        size = self._batch_size(step)
        for first in range(0, self.views * len(step.labels), size):
            for name, images in asked.items():
                batch = images[first : first + size]
                if len(batch) > 0:
                    found[name].append(self.is_correct(step, batch, first))
        return Correct(**{name: torch.cat(parts) for name, parts in found.items()})

    def _forward_clean(self, step: Step, images: Tensor) -> Tensor:
        """Logits (2B, K) of both clean views for DICAR's right side, with gradients."""
        import torch

        batches = torch.split(images, self._batch_size(step))
        return torch.cat([step.forward(batch) for batch in batches])

    def passes(self, steps: int, correct: float) -> Passes:
        """As once averaging has started; before, released DICAR has no gradients."""
        settings, views = self.settings, self.supervised_views
        passes = self.passes_of_perturbing(steps) + Passes(updates=views)
        if settings.dicar:
            passes += self.passes_of_dicar(correct, forwards_clean=True)
        if settings.kl_lambda > 0:
            passes += Passes(forwards=views, updates=views)
        elif settings.repeat_forwards:
            passes += Passes(forwards=views)
        reduced = settings.reduce_boundary and settings.reduced_sample == "attack"
        return passes + self.passes_of_repeating(self.views + (views if reduced else 0), views)
