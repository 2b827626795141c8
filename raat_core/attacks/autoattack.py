"""AutoAttack's standard version (Croce & Hein, ICML 2020), by its authors' package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raat_core.cells.evaluations import FEWEST_CLASSES, AutoAttackEvaluation
from raat_core.errors import UserError
from raat_core.randomness import derive_seed


class _Interruptible(nn.Module):
    """A model that looks for a request to stop before every forward."""

    def __init__(self, model: nn.Module, check_stop: Callable[[], None]) -> None:
        super().__init__()
        self.model, self.check_stop = model, check_stop

    def forward(self, images: Tensor) -> Tensor:
        self.check_stop()
        logits: Tensor = self.model(images)
        return logits


def run_autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: AutoAttackEvaluation,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Adversarial images (B, C, H, W) of one batch, and the class (B,) predicted for each.

    The draws are the same for every batch: what comes out depends on the batch alone. An image is
    changed where the attack succeeded; where it did not, the clean one comes back.

    Args:
        model: in evaluation mode, logits of images in [0, 1].
        images: (B, C, H, W) in [0, 1], on the model's device; attacked all at once.
        labels: (B,) int64.
        settings: the ball and the seed.
        check_stop: called before every forward; may raise to stop.

    Raises:
        UserError: there are fewer classes than AutoAttack's targeted loss needs.
    """
    from pyautoattack import AutoAttack

    attack = AutoAttack(
        _Interruptible(model, check_stop).eval(),
        norm={"linf": "Linf", "l2": "L2"}[settings.norm],
        eps=float(settings.epsilon),
        version=settings.version,
        # The package seeds torch's global generators, which take 32 bits on every device.
        seed=derive_seed(settings.seed, "autoattack") % 2**31,
        device=images.device,
    )
    classes = _number_of_classes(model, images)
    if classes < FEWEST_CLASSES:
        raise UserError(
            f"autoattack: the standard version needs at least {FEWEST_CLASSES} classes, "
            f"not {classes}"
        )
    # The package attacks towards 9 other classes, which a model of fewer classes has not.
    attack.apgd_targeted.n_target_classes = min(9, classes - 1)
    attack.fab.n_target_classes = min(9, classes - 1)
    # The package looks at gradients by `view`, which channels_last images do not allow.
    images = images.contiguous()
    with torch.random.fork_rng():
        adversarial, predictions = attack.run_standard_evaluation(
            images, labels, batch_size=len(images)
        )
    return adversarial.detach(), predictions


def _number_of_classes(model: nn.Module, images: Tensor) -> int:
    with torch.no_grad():
        return int(model(images[:1]).shape[1])
