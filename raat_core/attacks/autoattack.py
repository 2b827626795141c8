"""The attacks of AutoAttack (Croce & Hein, ICML 2020), by its authors' package."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from raat_core.attacks.in_turn import Perturb
from raat_core.attacks.watched import Watched
from raat_core.cells.attacks.autoattack import AutoAttackEvaluation
from raat_core.cells.attacks.limits import targets_of
from raat_core.randomness import derive_seed
from raat_core.specs.threat_model import Norm

NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
SILENT = logging.getLogger("raat_core.silent")
"""For packages that warn of every batch; records have flags of all images."""
SILENT.addFilter(lambda record: False)  # Whoever configures logging may set `disabled` anew.


def package_seed(seed: int) -> int:
    """The seed of the package's attacks, which set torch's global generators: 32 bits at most."""
    return derive_seed(seed, "autoattack") % 2**31


def autoattack(
    model: Watched, settings: AutoAttackEvaluation, classes: int, device: torch.device
) -> dict[str, Perturb]:
    """The attacks of a version, in its order, with the package's own parameters.

    Their draws are the same for every batch: what comes out depends on the batch alone.

    Args:
        model: what is attacked.
        settings: version, ball and seed.
        classes: of the model.
        device: of the images.
    """
    from pyautoattack import AutoAttack

    package = AutoAttack(
        model,
        norm=NORMS[settings.norm],
        eps=float(settings.epsilon),
        version=settings.version,
        attacks=list(settings.attacks) or None,
        seed=package_seed(settings.seed),
        device=device,
    )
    package.apgd.logger = package.apgd_targeted.logger = SILENT
    package.apgd_targeted.n_target_classes = package.fab.n_target_classes = targets_of(classes)
    by_name: dict[str, Perturb] = {
        "apgd-ce": _Configured(package.apgd, loss="ce"),
        "apgd-dlr": _Configured(package.apgd, loss="dlr"),
        "fab": _Configured(package.fab, targeted=False),
        "square": _Configured(package.square),
        "apgd-t": _Configured(package.apgd_targeted),
        "fab-t": _Configured(package.fab, targeted=True, n_restarts=1),
    }
    return {name: by_name[name] for name in settings.names}


class _Configured:
    """An attack of the package, which sets some of its attributes before it runs it."""

    def __init__(self, attack: Any, **attributes: Any) -> None:
        self._attack, self._attributes = attack, attributes

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        for name, value in self._attributes.items():
            setattr(self._attack, name, value)
        found: Tensor = self._attack.perturb(images, labels)
        return found
