"""Square alone (Andriushchenko et al., ECCV 2020), by the package of AutoAttack's authors."""

from __future__ import annotations

import torch

from raat_core.attacks.autoattack import NORMS, package_seed
from raat_core.attacks.in_turn import Perturb
from raat_core.attacks.watched import Watched
from raat_core.cells.attacks.square import SquareEvaluation


def square(
    model: Watched, settings: SquareEvaluation, classes: int, device: torch.device
) -> dict[str, Perturb]:
    """The one attack, by its name; as in AutoAttack but for queries and starts.

    Args:
        model: what is attacked.
        settings: ball, queries, starts and seed.
        classes: of the model; any will do.
        device: of the images.
    """
    from pyautoattack.square import SquareAttack

    built = SquareAttack(
        model,
        norm=NORMS[settings.norm],
        eps=float(settings.epsilon),
        n_queries=settings.queries,
        n_restarts=settings.restarts,
        seed=package_seed(settings.seed),
        device=device,
        # The sizes of squares follow the number of the query, not its share of all of them.
        resc_schedule=False,
    )
    return {"square": built.perturb}
