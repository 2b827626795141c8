"""RAAT: reduced perturbation for boundary samples, and DICAR (Section 4, Table 4, Eq. 16).

BOUND and DICAR, the paper's ablations (Figure 5a), are this method with `dicar` or
`reduce_boundary` switched off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.losses import Numerics, cross_entropy, jensen_shannon
from raat_core.methods.base import (
    BatchNormMode,
    Method,
    MethodSettings,
    Start,
    Step,
    departure,
    register,
)

if TYPE_CHECKING:
    from torch import Tensor


class RobustAlignmentSettings(MethodSettings):
    """Settings of the paper's two ideas, shared by RAAT and RAAT++."""

    lam: float = Field(1.0, alias="lambda", ge=0, description="Weight of the regularisers.")
    eta: float = Field(
        0.1, gt=0, lt=1, description="Radius of the reduced ball, as a fraction of epsilon."
    )
    gamma: float = Field(
        0.75, gt=0, description="beta, the weight of the interpolation, is of Beta(gamma, gamma)."
    )
    reduce_boundary: bool = Field(
        True, description="Train boundary samples at the reduced perturbation (BOUND)."
    )
    dicar: bool = Field(True, description="Add the interpolation consistency term (DICAR).")
    partition_mode: BatchNormMode = Field(
        "eval", description="BatchNorm's mode in the forwards that decide about samples."
    )
    reduced_sample: Literal["attack", "scaled"] = departure(
        "attack", "scaled", "x'': an attack of its own in the reduced ball, or x + eta (x' - x)."
    )
    reduced_for: Literal["wrong", "boundary"] = departure(
        "wrong",
        "boundary",
        "Which samples are trained at x'': all wrong there, misclassified ones too, or only those "
        "right when clean and wrong at both x' and x''.",
    )
    dicar_target: Literal["probabilities", "logits"] = departure(
        "probabilities", "logits", "What is interpolated on DICAR's right side."
    )
    temperature: float = departure(
        1.0, 0.5, "Both sides of the JS term are softmax(logits / temperature).", gt=0
    )
    fold_beta: bool = departure(False, True, "Use max(beta, 1 - beta) for beta.")
    beta_per: Literal["sample", "batch"] = departure(
        "sample", "batch", "One draw of beta for every sample, or one for the whole batch."
    )
    dicar_keeps: Literal["natural", "both-views"] = departure(
        "natural",
        "both-views",
        "DICAR counts a sample if it is classified correctly without augmentation, or if both "
        "of its augmentations are.",
    )
    dicar_mean: Literal["all", "kept"] = departure(
        "all",
        "kept",
        "Mean of the JS term over the batch, or over the kept samples, which then are the only "
        "interpolations that are forwarded.",
    )
    numerics: Numerics = departure(
        "exact", "released", "Exact logarithms, or the released code's small constants in them."
    )


class RaatSettings(RobustAlignmentSettings):
    """Settings of RAAT."""

    name: Literal["raat"] = "raat"
    clean_forward: BatchNormMode = Field(
        "train",
        description="BatchNorm's mode in the forward of the clean augmentations for DICAR's right "
        "side. train: a forward of its own that BatchNorm's statistics see, as in the released "
        "code; eval: with running statistics, which it leaves alone.",
    )


@dataclass(frozen=True)
class Perturbed:
    """Both views of a batch at all perturbations, and what the indicators say of them.

    Images (2B, C, H, W), labels and indicators (2B,). The indicators are those of the fixed copy
    of the weights in Table 4: all are computed before a training forward moves BatchNorm's
    statistics.
    """

    clean: Tensor
    labels: Tensor
    adversarial: Tensor
    reduced: Tensor
    takes_reduced: Tensor
    """1 where the supervised term is computed at x''."""
    kept: Tensor
    """(B,) bool: 1 where DICAR counts the sample."""

    def supervised_images(self) -> Tensor:
        """Images at x'' where it is taken, else at x'."""
        return self.reduced.where(self.takes_reduced[:, None, None, None], self.adversarial)


class RobustAlignment(Method):
    """What RAAT and RAAT++ share: perturbing, partitioning, and the DICAR term."""

    settings: RobustAlignmentSettings
    views = 2

    def perturb(self, step: Step, start: Start) -> Perturbed:
        """Attack both views, and decide about every sample; nothing is forwarded in training."""
        images, labels = step.stacked_views()
        adversarial = step.attack(images, labels, start=start)
        reduced = self._reduce(step, start, adversarial)
        clean_correct = self._is_correct(step, images) if self._asks_clean_views else None
        return Perturbed(
            clean=images,
            labels=labels,
            adversarial=adversarial,
            reduced=reduced,
            takes_reduced=self._takes_reduced(step, adversarial, reduced, clean_correct),
            kept=self.kept(step, clean_correct),
        )

    @property
    def _asks_clean_views(self) -> bool:
        settings = self.settings
        boundary = settings.reduce_boundary and settings.reduced_for == "boundary"
        return boundary or (settings.dicar and settings.dicar_keeps == "both-views")

    def _reduce(self, step: Step, start: Start, adversarial: Tensor) -> Tensor:
        """Images at x'', (2B, C, H, W)."""
        images, labels = step.stacked_views()
        eta = self.settings.eta
        if not self.settings.reduce_boundary:
            return adversarial
        if self.settings.reduced_sample == "attack":
            return step.attack(images, labels, start=start, radius=eta, name="reduced")
        return images + eta * (adversarial - images)

    def _is_correct(self, step: Step, images: Tensor) -> Tensor:
        """(2B,) bool: 1[h(images) = y], without gradient."""
        _, labels = step.stacked_views()
        return step.logits(images, self.settings.partition_mode).argmax(1) == labels

    def _takes_reduced(
        self, step: Step, adversarial: Tensor, reduced: Tensor, clean_correct: Tensor | None
    ) -> Tensor:
        if not self.settings.reduce_boundary:
            return step.labels.repeat(2) < 0
        wrong = ~self._is_correct(step, reduced)
        if self.settings.reduced_for == "wrong":
            return wrong
        assert clean_correct is not None
        return wrong & clean_correct & ~self._is_correct(step, adversarial)

    def kept(self, step: Step, clean_correct: Tensor | None = None) -> Tensor:
        """(B,) bool: DICAR's indicator under the model as it is now."""
        if not self.settings.dicar:
            return step.labels < 0
        if self.settings.dicar_keeps == "natural":
            logits = step.logits(step.natural, self.settings.partition_mode)
            return logits.argmax(1) == step.labels
        if clean_correct is None:
            clean_correct = self._is_correct(step, step.stacked_views()[0])
        first, second = clean_correct.chunk(2)
        return first & second

    def dicar(
        self,
        step: Step,
        perturbed: Perturbed,
        kept: Tensor,
        clean_mode: BatchNormMode = "train",
        clean_logits: Tensor | None = None,
    ) -> Tensor:
        """The JS term of Eq. 16, a scalar; without logits, the clean views are forwarded."""
        beta = self._beta(step)
        weight = beta[:, None, None, None]
        first, second = perturbed.adversarial.chunk(2)
        mixed = weight * first + (1 - weight) * second
        only_kept = self.settings.dicar_mean == "kept"
        if only_kept:
            mixed = mixed[kept]
            if len(mixed) == 0:
                return mixed.new_zeros(())
        mixed_logits = step.forward(mixed)
        if clean_logits is None:
            clean_logits = step.forward(perturbed.clean, clean_mode)
        target = self._interpolate(clean_logits, beta)
        prediction = (mixed_logits / self.settings.temperature).log_softmax(1)
        if only_kept:
            return jensen_shannon(prediction, target[kept], self.settings.numerics).mean()
        return (jensen_shannon(prediction, target, self.settings.numerics) * kept).mean()

    def _beta(self, step: Step) -> Tensor:
        """Beta per sample (B,) or for all (1,)."""
        size = len(step.labels) if self.settings.beta_per == "sample" else 1
        beta = step.beta(self.settings.gamma, size)
        return beta.maximum(1 - beta) if self.settings.fold_beta else beta

    def _interpolate(self, clean_logits: Tensor, beta: Tensor) -> Tensor:
        """Log-probabilities (B, K) of DICAR's right side from the views' logits (2B, K)."""
        scaled = clean_logits / self.settings.temperature
        weight = beta[:, None]
        if self.settings.dicar_target == "logits":
            first, second = scaled.chunk(2)
            return (weight * first + (1 - weight) * second).log_softmax(1)
        first, second = scaled.log_softmax(1).chunk(2)
        return (weight.log() + first).logaddexp((1 - weight).log() + second)


@register
class Raat(RobustAlignment):
    """CE on x' or x'' + lambda DICAR."""

    Settings = RaatSettings
    settings: RaatSettings

    def loss(self, step: Step) -> dict[str, Tensor]:
        perturbed = self.perturb(step, start="uniform")
        logits = step.forward(perturbed.supervised_images())
        terms = {"supervised": cross_entropy(logits, perturbed.labels).mean()}
        if self.settings.dicar:
            dicar = self.dicar(step, perturbed, perturbed.kept, self.settings.clean_forward)
            terms["dicar"] = self.settings.lam * dicar
        return terms
