"""The built-in attacks on trained models, as an author's would be written.

Nothing here imports torch before an attack runs: plans read what attacks cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raat_core.cells.evaluations import AutoAttackEvaluation, CleanEvaluation, PgdEvaluation
from raat_core.interface.attack import Attack, AttackBatch, Attacked, Outcome
from raat_core.interface.operations import Passes
from raat_core.interface.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn

ROBUST_TO_AUTOATTACK = 0.85
"""Of the samples that PGD-10 leaves; 0.84 is the mean over the paper's Table 1."""
MOST_WITHOUT_GRADIENT = 0.01
"""Of all images: those that count as robust although most of their gradients were exactly zero."""
FEWEST_WITHOUT_GRADIENT = 3
_WRONG = Passes(forwards=8)
_BROKEN = Passes(forwards=10, gradients=101)
"""By the first of AutoAttack's attacks, as nearly all are."""
_STANDING = Passes(forwards=5_009, gradients=101)
"""Square's 5,000 queries, and the first attack's gradients."""
_STANDING_PER_TARGET = Passes(forwards=105, gradients=201)
"""More for each class that is attacked towards."""
_MOST_TARGETS = 9


@register
class Clean(Attack):
    """No attack: the images as they are."""

    Settings = CleanEvaluation

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`."""
        return Outcome()

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`."""
        return Passes()


@register
class ProjectedGradientDescent(Attack):
    """PGD; of several restarts, an image's outcome is the first wrong prediction, if any."""

    Settings = PgdEvaluation
    settings: PgdEvaluation
    version = 2  # 1 took an image that is misclassified without attack for robust if PGD mended it.

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`."""
        import torch

        from raat_core.attacks.pgd import Live, Pgd
        from raat_core.evaluation.accuracy import classes_of

        settings, labels = self.settings, batch.labels
        ball = settings.norm, float(settings.epsilon), float(settings.step_size)
        pgd = Pgd(*ball, settings.steps, settings.objective)
        images, outcome = batch.images, labels
        zero = torch.zeros_like(labels, dtype=torch.int32)

        def count_zero(gradient: Tensor) -> None:
            zero.add_((gradient.flatten(1) == 0).all(dim=1))

        for restart in range(settings.restarts):
            batch.check_stop()
            draws = batch.draws(str(restart)).generator
            found = pgd.run(model, batch.images, labels, draws, Live(on_gradient=count_zero))
            standing = outcome == labels
            outcome = classes_of(model, found).where(standing, outcome)
            images = found.where(standing[:, None, None, None], images)
        return Outcome(images, outcome, {"zero_gradients": zero})

    def flags(self, attacked: Attacked) -> list[str]:
        """Of images that withstood it, how many have no gradient to follow."""
        steps = self.settings.steps * self.settings.restarts
        stands = attacked.prediction == attacked.label
        without = stands & (2 * attacked.details["zero_gradients"] >= steps)
        share = without.mean()
        if share <= MOST_WITHOUT_GRADIENT or without.sum() < FEWEST_WITHOUT_GRADIENT:
            return []
        return [
            f"the gradient of {without.sum()} of {len(stands)} images, all counted as robust, was "
            f"exactly zero in half of the steps or more"
        ]

    def purpose(self, name: str, batch: int) -> tuple[str | int, ...]:
        """As before attacks were registered: records depend on it."""
        return ("evaluation", name, batch)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`."""
        reference = 1 if self.settings.objective == "kl" else 0
        once = Passes(forwards=1 + reference, gradients=self.settings.steps)
        return self.settings.restarts * once


@register
class AutoAttack(Attack):
    """AutoAttack's standard version, by its authors' package."""

    Settings = AutoAttackEvaluation
    settings: AutoAttackEvaluation
    version = 2  # 1 ran each of its attacks over all images before the next one.
    slow = True
    packages = ("pyautoattack",)
    work = "autoattack"

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`; all of its draws are functions of its seed alone."""
        from raat_core.attacks.autoattack import run_autoattack
        from raat_core.evaluation.accuracy import NO_CLASS, classes_of

        adversarial, classes = run_autoattack(
            model, batch.images, batch.labels, self.settings, batch.check_stop
        )
        # The package names a class where logits are not finite, too.
        classes = classes.where(classes_of(model, adversarial) != NO_CLASS, NO_CLASS)
        return Outcome(adversarial, classes)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`."""
        return autoattack_passes(classes, clean, min(ROBUST_TO_AUTOATTACK * robust, clean))


def autoattack_passes(classes: int, clean: float, standing: float) -> Passes:
    """What AutoAttack's standard version costs for each sample, on average.

    Counted in runs of its authors' package (docs/cost.md): a sample that is misclassified costs a
    few forwards, one that the first attack breaks 101 gradients, and one that withstands all four
    1,910 gradients and 5,954 forwards, for ten classes and more.

    Args:
        classes: of the data set.
        clean: the share of samples that are classified correctly without attack, in [0, 1].
        standing: the share that withstands AutoAttack.
    """
    targets = min(_MOST_TARGETS, classes - 1)
    all_four = _STANDING + targets * _STANDING_PER_TARGET
    return (1 - clean) * _WRONG + (clean - standing) * _BROKEN + standing * all_four
