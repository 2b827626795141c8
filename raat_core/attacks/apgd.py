"""Auto-PGD alone (Croce & Hein, ICML 2020), by its authors' package."""

from __future__ import annotations

from typing import Any

import torch

from raat_core.attacks.autoattack import NORMS, SILENT, package_seed
from raat_core.attacks.in_turn import Perturb
from raat_core.attacks.watched import Watched
from raat_core.cells.attacks.apgd import ApgdEvaluation
from raat_core.cells.attacks.limits import targets_of


def apgd(
    model: Watched, settings: ApgdEvaluation, classes: int, device: torch.device
) -> dict[str, Perturb]:
    """The one attack, by its name; as in AutoAttack but for steps and starts.

    Args:
        model: what is attacked.
        settings: objective, ball, steps, starts and seed.
        classes: of the model.
        device: of the images.
    """
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    given: dict[str, Any] = {
        "norm": NORMS[settings.norm],
        "eps": float(settings.epsilon),
        "n_iter": settings.steps,
        "n_restarts": settings.restarts,
        "seed": package_seed(settings.seed),
        "device": device,
        "logger": SILENT,
    }
    if settings.objective == "dlr-targeted":
        attack = APGDAttack_targeted(model, n_target_classes=targets_of(classes), **given)
    else:
        loss = {"cross-entropy": "ce", "dlr": "dlr"}[settings.objective]
        attack = APGDAttack(model, loss=loss, **given)
    return {settings.name: attack.perturb}
