"""Whether chance chose the best checkpoint: what is said of it in log, manifest and tables."""

from __future__ import annotations

import math

from raat_core.cells.selection import Selection
from raat_core.specs.threat_model import ThreatModel

STANDARD_ERRORS = 2.0
"""An accuracy this close to zero or to chance is taken for it."""


def warnings_of_noise(
    selection: Selection,
    threat: ThreatModel,
    *,
    best_epoch: int,
    accuracy: float,
    epochs: int,
    images: int,
    classes: int,
) -> list[str]:
    """Why the best checkpoint of a training may be anything but the best; nothing, if all is well.

    Args:
        selection: how it was chosen.
        threat: the cell's threat model.
        best_epoch: which it is, from 1.
        accuracy: that it was chosen by, in percent.
        epochs: that were trained.
        images: that the accuracy is of.
        classes: of the data set.
    """
    if selection.by == "last":
        return []
    chosen_by = selection.chosen_by(threat)
    found = [
        f"the best checkpoint was chosen by noise: {accuracy:.2f}% {chosen_by} on "
        f"{images} images is within two standard errors ({100 * error:.2f}%) of {what}"
        for what, error in _not_told_from(accuracy / 100, images, classes)
    ]
    if best_epoch == 1 and epochs > 1:
        found.append(f"the best checkpoint is of the first of {epochs} epochs")
    return found


def _not_told_from(accuracy: float, images: int, classes: int) -> list[tuple[str, float]]:
    """What an accuracy (a share) may be by chance, and its two standard errors; one at most."""
    chance = 1 / classes
    near_zero = STANDARD_ERRORS * math.sqrt(accuracy * (1 - accuracy) / images)
    near_chance = STANDARD_ERRORS * math.sqrt(chance * (1 - chance) / images)
    if abs(accuracy - chance) <= near_chance:
        return [(f"chance ({100 * chance:.2f}%)", near_chance)]
    return [("zero", near_zero)] if accuracy <= near_zero else []
