"""No attack, and PGD: built-in attacks on trained models, as an author's would be written.

Nothing here imports torch before an attack runs: plans read what attacks cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raat_core.cells.evaluations import CleanEvaluation, PgdEvaluation
from raat_core.interface.attack import Attack, AttackBatch, Attacked, Outcome
from raat_core.interface.operations import Passes
from raat_core.interface.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_WITHOUT_GRADIENT = 0.01
"""Of all images: those that count as robust although most of their gradients were exactly zero."""
FEWEST_WITHOUT_GRADIENT = 3


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
        images, outcome, followed = batch.images, labels, self.followed(model, batch)
        zero = torch.zeros_like(labels, dtype=torch.int32)

        def count_zero(gradient: Tensor) -> None:
            zero.add_((gradient.flatten(1) == 0).all(dim=1))

        for restart in range(settings.restarts):
            batch.check_stop()
            draws = batch.draws(str(restart)).generator
            found = pgd.run(followed, batch.images, labels, draws, Live(on_gradient=count_zero))
            standing = outcome == labels
            outcome = classes_of(model, found).where(standing, outcome)
            images = found.where(standing[:, None, None, None], images)
        return Outcome(images, outcome, {"zero_gradients": zero})

    def followed(self, model: nn.Module, batch: AttackBatch) -> nn.Module:
        """The model whose gradients are followed."""
        return model

    def flags(self, attacked: Attacked) -> list[str]:
        """Of images that withstood it, how many have no gradient to follow."""
        if "zero_gradients" not in attacked.details:
            return []
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
