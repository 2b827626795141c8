"""The built-in attacks on trained models, as an author's would be written.

Nothing here imports torch before an attack runs: plans read what attacks cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from raat_core.cells.evaluations import AutoAttackEvaluation, CleanEvaluation, PgdEvaluation
from raat_core.interface.attack import Attack, DrawsByName
from raat_core.interface.operations import Passes
from raat_core.interface.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn

ROBUST_TO_AUTOATTACK = 0.85
"""Of the samples that PGD-10 leaves; 0.84 is the mean over the paper's Table 1."""
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
    counts_clean_errors = False  # They are all that it counts.

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        draws: DrawsByName,
        check_stop: Callable[[], None],
    ) -> Tensor:
        """See `Attack.run`."""
        return images

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`."""
        return Passes(forwards=1)


@register
class ProjectedGradientDescent(Attack):
    """PGD; of several restarts, an image's outcome is the first wrong prediction, if any."""

    Settings = PgdEvaluation
    settings: PgdEvaluation
    counts_clean_errors = False  # Nor did they, when records of version 1 were made.

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        draws: DrawsByName,
        check_stop: Callable[[], None],
    ) -> Tensor:
        """See `Attack.run`."""
        from raat_core.attacks.pgd import Pgd
        from raat_core.evaluation.accuracy import classes_of

        settings = self.settings
        ball = settings.norm, float(settings.epsilon), float(settings.step_size)
        pgd = Pgd(*ball, settings.steps, settings.objective)
        outcome = labels
        for restart in range(settings.restarts):
            check_stop()
            found = pgd.run(model, images, labels, draws(str(restart)).generator)
            outcome = classes_of(model, found).where(outcome == labels, outcome)
        return outcome

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
    counts_clean_errors = False  # It does so itself.
    work = "autoattack"

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        draws: DrawsByName,
        check_stop: Callable[[], None],
    ) -> Tensor:
        """See `Attack.run`; all of its draws are functions of its seed alone."""
        from raat_core.attacks.autoattack import run_autoattack
        from raat_core.evaluation.accuracy import NO_CLASS, classes_of

        adversarial, classes = run_autoattack(model, images, labels, self.settings, check_stop)
        # The package names a class where logits are not finite, too.
        return classes.where(classes_of(model, adversarial) != NO_CLASS, NO_CLASS)

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
