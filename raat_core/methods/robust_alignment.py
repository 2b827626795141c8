"""What RAAT, RAAT++ and RAAT# share: perturbing, deciding about samples, DICAR (Section 4)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raat_core.interface import Method, Start, Step
from raat_core.interface.losses import jensen_shannon
from raat_core.interface.operations import Passes
from raat_core.methods.alignment_settings import (
    OnlinePartitionSettings,
    ReducedFor,
    RobustAlignmentSettings,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Correct:
    """1[h = y] of the supervised term's images, (N,) bool; None for what no indicator asks for.

    N is the number of images in the supervised term: 2B if it is on both views, B if on the first.
    """

    clean: Tensor | None = None
    """(2B,) where DICAR's indicator asks for both views."""
    adversarial: Tensor | None = None
    reduced: Tensor | None = None


@dataclass(frozen=True)
class Perturbed:
    """Both views of a batch at all perturbations, and what the indicators say of them.

    Clean and adversarial images (2B, C, H, W) are of both views. What is for the supervised term
    alone is (N, ...), as in `Correct`. The indicators are those of the fixed copy of the weights
    in Table 4: all are computed before a training forward moves BatchNorm's statistics.
    """

    clean: Tensor
    labels: Tensor
    """(N,)."""
    adversarial: Tensor
    reduced: Tensor
    """(N, C, H, W)."""
    takes_reduced: Tensor
    """(N,) bool: 1 where the supervised term is computed at x''."""
    kept: Tensor
    """(B,) bool: 1 where DICAR counts the sample."""

    def supervised_adversarial(self) -> Tensor:
        """The supervised term's images at x', (N, C, H, W)."""
        return self.adversarial[: len(self.labels)]

    def supervised_images(self) -> Tensor:
        """Images at x'' where it is taken, else at x', (N, C, H, W)."""
        mask = self.takes_reduced[:, None, None, None]
        return self.reduced.where(mask, self.supervised_adversarial())


class RobustAlignment(Method):
    """What RAAT, RAAT++ and RAAT# share: perturbing, partitioning, and the DICAR term."""

    settings: RobustAlignmentSettings
    views = 2

    @property
    def supervised_views(self) -> int:
        """On how many of the views the supervised term is computed."""
        return 2

    @property
    def whole_batches(self) -> str:
        only_kept = self.settings.dicar and self.settings.dicar_mean == "kept"
        return "method.dicar_mean = 'all'" if only_kept else ""

    @abstractmethod
    def decide(self, step: Step, images: Tensor) -> Tensor:
        """Logits (N, K), without gradient, by whose argmax samples are told apart."""

    def perturb(self, step: Step, start: Start) -> Perturbed:
        """Attack both views, and decide about every sample; nothing is forwarded in training."""
        images, labels = step.stacked_views()
        labels = labels[: self.supervised_views * len(step.labels)]
        adversarial = self.attack(step, start, self.views)
        reduced = self._reduce(step, start, adversarial[: len(labels)])
        correct = self.judge(step, adversarial[: len(labels)], reduced)
        return Perturbed(
            clean=images,
            labels=labels,
            adversarial=adversarial,
            reduced=reduced,
            takes_reduced=self._takes_reduced(correct, labels),
            kept=self.kept(step, correct.clean),
        )

    def attack(
        self, step: Step, start: Start, views: int, radius: float = 1.0, name: str = "attack"
    ) -> Tensor:
        """The first `views` views, attacked in `radius` times the ball, (views * B, C, H, W)."""
        images, labels = step.stacked_views()
        count = views * len(step.labels)
        return step.attack(
            images[:count],
            labels[:count],
            start=start,
            radius=radius,
            l2=self.settings.l2,
            name=name,
        )

    def _reduce(self, step: Step, start: Start, adversarial: Tensor) -> Tensor:
        """The supervised term's images at x'' from those at x', (N, C, H, W)."""
        eta = self.settings.eta
        if not self.settings.reduce_boundary:
            return adversarial
        if self.settings.reduced_sample == "attack":
            return self.attack(step, start, self.supervised_views, radius=eta, name="reduced")
        images = step.stacked_views()[0][: len(adversarial)]
        return images + eta * (adversarial - images)

    def asks_for(self, *readings: ReducedFor) -> bool:
        """Whether the supervised term's indicator is one of these."""
        return self.settings.reduce_boundary and self.settings.reduced_for in readings

    @property
    def asks_clean(self) -> bool:
        """Whether the supervised term's indicator asks for x, beside x''."""
        return self.asks_for("boundary", "released")

    @property
    def asks_adversarial(self) -> bool:
        """Whether it asks for x', too."""
        return self.asks_for("released")

    @property
    def asks_both_views(self) -> bool:
        """Whether DICAR's indicator asks for the clean views."""
        return self.settings.dicar and self.settings.dicar_keeps == "both-views"

    def judge(self, step: Step, adversarial: Tensor, reduced: Tensor) -> Correct:
        """What the indicators ask; the order matters where BatchNorm's statistics see it."""
        asked = self.asked(step, adversarial, reduced)
        return Correct(**{name: self.is_correct(step, images) for name, images in asked.items()})

    def asked(self, step: Step, adversarial: Tensor, reduced: Tensor) -> dict[str, Tensor]:
        """The images that the indicators ask for, by the names in `Correct`."""
        images: dict[str, Tensor] = {}
        if self.asks_clean or self.asks_both_views:
            clean = step.stacked_views()[0]
            images["clean"] = clean if self.asks_both_views else clean[: len(adversarial)]
        if self.settings.reduce_boundary:
            images["reduced"] = reduced
        if self.asks_adversarial:
            images["adversarial"] = adversarial
        return images

    def is_correct(self, step: Step, images: Tensor, first: int = 0) -> Tensor:
        """(N,) bool: 1[h(images) = y] with the labels of the stacked views from `first` on."""
        _, labels = step.stacked_views()
        return self.decide(step, images).argmax(1) == labels[first : first + len(images)]

    def _takes_reduced(self, correct: Correct, labels: Tensor) -> Tensor:
        """(N,) bool: whether a sample is of the set that `reduced_for` names."""
        if correct.reduced is None:
            return labels < 0
        takes = ~correct.reduced
        if self.asks_clean:
            assert correct.clean is not None
            takes = takes & correct.clean[: len(labels)]
        if self.asks_adversarial:
            assert correct.adversarial is not None
            takes = takes & ~correct.adversarial
        return takes

    def kept(self, step: Step, clean_correct: Tensor | None = None) -> Tensor:
        """(B,) bool: DICAR's indicator under the model as it is now."""
        if not self.settings.dicar:
            return step.labels < 0
        if self.settings.dicar_keeps == "natural":
            return self.is_correct(step, step.natural)
        if clean_correct is None:
            clean_correct = self.is_correct(step, step.stacked_views()[0])
        first, second = clean_correct.chunk(2)
        return first & second

    def dicar(
        self,
        step: Step,
        perturbed: Perturbed,
        kept: Tensor,
        forward_clean: Callable[[], Tensor],
    ) -> Tensor:
        """The JS term of Eq. 16, a scalar.

        Args:
            step: the batch.
            perturbed: its images.
            kept: (B,) bool, DICAR's indicator.
            forward_clean: logits (2B, K) of both clean views for DICAR's right side, with
                gradients; called after the forward of the interpolations.
        """
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
        target = self._interpolate(forward_clean(), beta)
        prediction = (mixed_logits / self.settings.temperature).log_softmax(1)
        if only_kept:
            return jensen_shannon(prediction, target[kept], self.settings.numerics).mean()
        return (jensen_shannon(prediction, target, self.settings.numerics) * kept).mean()

    def _beta(self, step: Step) -> Tensor:
        """Beta per sample (B,) or for all (1,)."""
        size = len(step.labels) if self.settings.beta_per == "sample" else 1
        beta = step.draws("beta").beta(self.settings.gamma, size)
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

    def passes_of_perturbing(self, steps: int) -> Passes:
        """What `perturb` costs for each sample."""
        settings, views = self.settings, self.supervised_views
        forwards, attacks = 0, self.views
        if self.asks_both_views or self.asks_clean:
            forwards += self.views if self.asks_both_views else views
        if self.asks_adversarial:
            forwards += views
        if settings.reduce_boundary:
            forwards += views
            attacks += views if settings.reduced_sample == "attack" else 0
        if settings.dicar and settings.dicar_keeps == "natural":
            forwards += 1
        return Passes(forwards=forwards, gradients=attacks * steps)

    def passes_of_dicar(self, correct: float, forwards_clean: bool) -> Passes:
        """What `dicar` costs for each sample, with the clean views' forward or without."""
        clean = 2 if forwards_clean else 0
        if self.settings.dicar_mean == "all":
            return Passes(updates=1 + clean)
        return Passes(updates=correct + clean if correct > 0 else 0)


class OnlinePartition(RobustAlignment):
    """The trained model as it is decides about samples."""

    settings: OnlinePartitionSettings

    def decide(self, step: Step, images: Tensor) -> Tensor:
        """See `RobustAlignment.decide`."""
        return step.logits(images, self.settings.partition_mode)

    def judge(self, step: Step, adversarial: Tensor, reduced: Tensor) -> Correct:
        """In evaluation mode images do not see one another: all are forwarded as one batch."""
        asked = self.asked(step, adversarial, reduced)
        if self.settings.partition_mode == "train" or not asked:
            return super().judge(step, adversarial, reduced)
        import torch

        predictions = self.decide(step, torch.cat(list(asked.values()))).argmax(1)
        parts = torch.split(predictions, [len(images) for images in asked.values()])
        _, labels = step.stacked_views()
        return Correct(
            **{name: part == labels[: len(part)] for name, part in zip(asked, parts, strict=True)}
        )
