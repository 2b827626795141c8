"""The attacks that run by AutoAttack's authors' package: all of its versions, and two alone.

Nothing here imports torch before an attack runs: plans read what attacks cost.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from raat_core.cells.attacks.apgd import ApgdEvaluation
from raat_core.cells.attacks.autoattack import AutoAttackEvaluation
from raat_core.cells.attacks.square import SquareEvaluation
from raat_core.evaluation.authors_costs import Effort, passes_in_turn
from raat_core.evaluation.authors_flags import flags_of
from raat_core.interface.attack import Attack, AttackBatch, Attacked, Outcome
from raat_core.interface.operations import Passes
from raat_core.interface.registry import register

if TYPE_CHECKING:
    import torch
    from torch import nn

    from raat_core.attacks.in_turn import Perturb
    from raat_core.attacks.watched import Watched

ROBUST_TO_AUTOATTACK = 0.85
"""Of the samples that PGD-10 leaves; 0.84 is the mean over the paper's Table 1."""
ROBUST_TO_SQUARE = 1.1
"""The same, assumed: it leaves more of them than PGD does."""
_EOT = 20
"""Gradients that the version rand takes the mean of."""


class _ByAuthors(Attack):
    """Attacks of the package in turn; all of their draws are functions of the seed alone."""

    packages = ("pyautoattack",)

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`."""
        from raat_core.attacks.in_turn import run_in_turn
        from raat_core.attacks.watched import Watched
        from raat_core.evaluation.accuracy import predicted_classes

        watched, device = Watched(model, batch.check_stop), batch.images.device

        def build(classes: int) -> Mapping[str, Perturb]:
            return self.attacks(watched, classes, device)

        images, labels = batch.images, batch.labels
        repeats, gradients = self.repeats, self.gradients
        return run_in_turn(watched, build, images, labels, predicted_classes, repeats, gradients)

    @abstractmethod
    def attacks(self, model: Watched, classes: int, device: torch.device) -> Mapping[str, Perturb]:
        """By name, in their order; for a model of so many classes."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the attacks, in their order; `broken_by` counts them from 1."""

    @abstractmethod
    def efforts(self, classes: int) -> dict[str, Effort]:
        """What their costs are told from, by name and in order; for so many classes."""

    @property
    def repeats(self) -> int:
        """How often logits are asked for to find out whether the model is random."""
        return 5

    @property
    def gradients(self) -> int:
        """Of which a step takes the mean, where the model is meant to be random."""
        return 1

    def flags(self, attacked: Attacked) -> list[str]:
        """See `Attack.flags`."""
        return flags_of(attacked, self.names)

    def standing(self, clean: float, robust: float) -> float:
        """About which share withstands it, of those that PGD-10 leaves; all in [0, 1]."""
        return min(ROBUST_TO_AUTOATTACK * robust, clean)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`."""
        standing = self.standing(clean, robust)
        return passes_in_turn(self.efforts(classes), classes, clean, standing, self.repeats)


@register
class AutoAttack(_ByAuthors):
    """AutoAttack, in any of its versions."""

    Settings = AutoAttackEvaluation
    settings: AutoAttackEvaluation
    version = 2  # 1 ran each of its attacks over all images before the next one.
    slow = True
    work = "autoattack"

    @property
    def names(self) -> tuple[str, ...]:
        """See `_ByAuthors.names`."""
        return self.settings.names

    @property
    def repeats(self) -> int:
        """A model under the version rand is known to be random."""
        return 1 if self.settings.version == "rand" else 5

    @property
    def gradients(self) -> int:
        """Of the version rand; see `_ByAuthors.gradients`."""
        return _EOT if self.settings.version == "rand" else 1

    def attacks(self, model: Watched, classes: int, device: torch.device) -> Mapping[str, Perturb]:
        """See `_ByAuthors.attacks`."""
        from raat_core.attacks.autoattack import autoattack

        return autoattack(model, self.settings.for_classes(classes), classes, device)

    def efforts(self, classes: int) -> dict[str, Effort]:
        """See `_ByAuthors.efforts`; of `plus` and `custom`, five starts of untargeted attacks."""
        settings = self.settings.for_classes(classes)
        often = 5 if settings.version in ("plus", "custom") else 1
        return {
            name: Effort(
                restarts=often if name in ("apgd-ce", "apgd-dlr", "fab") else 1,
                gradients=self.gradients,
            )
            for name in settings.names
        }


@register
class Apgd(_ByAuthors):
    """Auto-PGD on one objective."""

    Settings = ApgdEvaluation
    settings: ApgdEvaluation

    @property
    def names(self) -> tuple[str, ...]:
        """See `_ByAuthors.names`."""
        return (self.settings.name,)

    def attacks(self, model: Watched, classes: int, device: torch.device) -> Mapping[str, Perturb]:
        """See `_ByAuthors.attacks`."""
        from raat_core.attacks.apgd import apgd

        return apgd(model, self.settings, classes, device)

    def efforts(self, classes: int) -> dict[str, Effort]:
        """See `_ByAuthors.efforts`."""
        return {self.settings.name: Effort(self.settings.steps, self.settings.restarts)}


@register
class Square(_ByAuthors):
    """Square, which needs no gradients."""

    Settings = SquareEvaluation
    settings: SquareEvaluation
    slow = True
    work = "autoattack"
    names = ("square",)

    def attacks(self, model: Watched, classes: int, device: torch.device) -> Mapping[str, Perturb]:
        """See `_ByAuthors.attacks`."""
        from raat_core.attacks.square import square

        return square(model, self.settings, classes, device)

    def efforts(self, classes: int) -> dict[str, Effort]:
        """See `_ByAuthors.efforts`."""
        return {"square": Effort(restarts=self.settings.restarts, queries=self.settings.queries)}

    def standing(self, clean: float, robust: float) -> float:
        """See `_ByAuthors.standing`."""
        return min(ROBUST_TO_SQUARE * robust, clean)
