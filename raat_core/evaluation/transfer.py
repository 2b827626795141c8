"""The transfer attack: PGD on another cell's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raat_core.cells.transfer import TransferEvaluation
from raat_core.interface.attack import Attack, AttackBatch, Outcome
from raat_core.interface.operations import Passes
from raat_core.interface.registry import register

if TYPE_CHECKING:
    from torch import nn


@register
class Transfer(Attack):
    """Images that PGD makes on another model; of several restarts, the first that is taken in."""

    Settings = TransferEvaluation
    settings: TransferEvaluation

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`."""
        from raat_core.attacks.pgd import Pgd
        from raat_core.evaluation.accuracy import classes_of

        settings, labels = self.settings, batch.labels
        ball = settings.norm, float(settings.epsilon), float(settings.step_size)
        pgd = Pgd(*ball, settings.steps, settings.objective)
        images, outcome = batch.images, labels
        for restart in range(settings.restarts):
            batch.check_stop()
            draws = batch.draws(str(restart)).generator
            found = pgd.run(batch.models["source"], batch.images, labels, draws)
            standing = outcome == labels
            outcome = classes_of(model, found).where(standing, outcome)
            images = found.where(standing[:, None, None, None], images)
        return Outcome(images, outcome)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`; as of a source of the same architecture."""
        reference = 1 if self.settings.objective == "kl" else 0
        once = Passes(forwards=1 + reference, gradients=self.settings.steps)
        return self.settings.restarts * once
