"""Attacks beside the paper's: a minimum-norm attack, a proxy of AutoAttack, common corruptions.

Nothing here imports torch before an attack runs: plans read what attacks cost.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raat_core.cells.corruptions import PACKAGE, Corruption, CorruptionsEvaluation
from raat_core.cells.open_attacks import CrEvaluation, FmnEvaluation
from raat_core.data.cache import data_root
from raat_core.errors import UserError
from raat_core.evaluation.authors import ROBUST_TO_AUTOATTACK
from raat_core.interface.attack import SHARE_RIGHT, Attack, AttackBatch, Attacked, Outcome
from raat_core.interface.operations import Passes
from raat_core.interface.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raat_core.attacks.corruptions import Archive

DISTANCE = "distance"
"""A detail: of the nearest misclassified image that is known."""
MOST_NOWHERE, FEWEST_NOWHERE = 0.01, 3
"""Of all images: those without a misclassified one, at any distance, that raise no alarm."""
_CR_BROKEN = Passes(forwards=2, gradients=9)
_CR_STANDING = Passes(forwards=45, gradients=90)
"""Of CR's defaults, counted on digits: 71 to 116 gradients for an image that stands."""


@register
class FastMinimumNorm(Attack):
    """FMN; `distance` is 0 of what is misclassified when clean, infinite of what stays right."""

    Settings = FmnEvaluation
    settings: FmnEvaluation
    has_distances = True

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`."""
        from raat_core.attacks.fmn import Fmn
        from raat_core.evaluation.accuracy import NO_CLASS

        given, images = self.settings, batch.images
        attack = Fmn(given.norm, given.steps, given.first_step, given.gamma)
        found = attack.run(model, images, batch.labels, batch.check_stop)
        inside = found.distance <= float(given.epsilon)
        # Beyond the ball there is no success: the image as it is, which is classified rightly.
        classes = found.classes.where(inside, batch.labels).where(found.finite, NO_CLASS)
        return Outcome(
            found.images.where(inside[:, None, None, None], images),
            classes,
            {DISTANCE: found.distance, "zero_gradients": found.zero_gradients},
        )

    def flags(self, attacked: Attacked) -> list[str]:
        """Of how many images nothing was found at all: something should be, if far away."""
        nowhere = int(np.isinf(attacked.details[DISTANCE]).sum())
        images = len(attacked.label)
        if nowhere < FEWEST_NOWHERE or nowhere / images <= MOST_NOWHERE:
            return []
        return [
            f"no misclassified image was found at any distance of {nowhere} of {images} images: "
            f"gradients may be masked, or steps be too few"
        ]

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`."""
        return Passes(gradients=self.settings.steps)


@register
class ConstraintRelaxation(Attack):
    """CR, the cheap proxy of AutoAttack."""

    Settings = CrEvaluation
    settings: CrEvaluation

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`."""
        from raat_core.attacks.cr import ConstraintRelaxation as Relaxation
        from raat_core.evaluation.accuracy import NO_CLASS, classes_of

        given = self.settings
        attack = Relaxation(
            float(given.epsilon), given.iterations, given.cycle, given.targets, given.rounds
        )
        found = attack.run(model, batch.images, batch.labels, batch.draws, batch.check_stop)
        # Where logits are not finite, the attack's own comparisons name a class all the same.
        classes = found.classes.where(classes_of(model, found.images) != NO_CLASS, NO_CLASS)
        return Outcome(found.images, classes, work=found.work)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`."""
        standing = min(ROBUST_TO_AUTOATTACK * robust, clean)
        return (1 - standing) * _CR_BROKEN + standing * self._most() * _CR_STANDING

    def _most(self) -> float:
        """How much longer than with the defaults it goes on; later rounds are of few images."""
        given, usual = self.settings, CrEvaluation.model_fields
        keys = ("iterations", "targets")
        return float(math.prod(getattr(given, key) / usual[key].default for key in keys))


@register
class Corruptions(Attack):
    """Common corruptions; an image's class is that which it is given most often.

    `share_right` is how often it is right, and a detail by the name of each corruption has a bit
    for every severity at which it is: 1 for the first, 2 for the second, 4, 8, 16.
    """

    Settings = CorruptionsEvaluation
    settings: CorruptionsEvaluation
    is_adversarial = False

    def used_packages(self) -> tuple[str, ...]:
        """See `Attack.used_packages`."""
        return (PACKAGE,) if self.settings.is_computed else ()

    def files(self, root: Path | None) -> dict[str, Path]:
        """See `Attack.files`."""
        given = self.settings
        if given.is_computed:
            return {}
        folder = data_root(root) / given.source
        found = {f"{name}.npy": folder / f"{name}.npy" for name in ("labels", *given.names)}
        missing = [name for name, path in found.items() if not path.is_file()]
        if missing:
            raise UserError(
                f"source = '{given.source}': {folder} has no {', '.join(missing)}: unpack the "
                f"archive of its name there (doi.org/10.5281/zenodo.2535967 is CIFAR-10-C)"
            )
        return found

    def run(self, model: nn.Module, batch: AttackBatch) -> Outcome:
        """See `Attack.run`."""
        import torch

        from raat_core.evaluation.accuracy import NO_CLASS, classes_of

        given, labels = self.settings, batch.labels
        archive = self._archive(batch)
        details: dict[str, Tensor] = {
            name: torch.zeros_like(labels, dtype=torch.int32) for name in given.names
        }
        found: list[Tensor] = []
        for name in given.names:
            for severity in given.severities:
                batch.check_stop()
                found.append(classes_of(model, self._corrupted(archive, name, severity, batch)))
                details[name] += (found[-1] == labels).int() << (severity - 1)
        predicted = torch.stack(found)
        share = (predicted == labels).float().mean(dim=0)
        votes = torch.nn.functional.one_hot(predicted.clamp(min=0)).sum(dim=0)
        usual = votes.argmax(1).where((predicted != NO_CLASS).all(dim=0), NO_CLASS)
        return Outcome(classes=usual, details={SHARE_RIGHT: share, **details})

    def _archive(self, batch: AttackBatch) -> Archive | None:
        if self.settings.is_computed:
            return None
        from raat_core.attacks.corruptions import Archive

        archive = Archive(data_root(batch.data_root) / self.settings.source)
        archive.check_labels(batch.index, batch.labels)
        return archive

    def _corrupted(
        self, archive: Archive | None, name: Corruption, severity: int, batch: AttackBatch
    ) -> Tensor:
        if archive is not None:
            return archive.images(name, severity, batch.index, batch.images)
        from raat_core.attacks.corruptions import computed

        return computed(name, severity, batch.index, batch.images, self.settings.seed)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """See `Attack.passes`; computing the images is no part of it."""
        return Passes(forwards=len(self.settings.names) * len(self.settings.severities))
