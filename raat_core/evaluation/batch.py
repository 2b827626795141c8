"""One batch under one evaluation: its outcome depends on nothing but the model and the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raat_core.attacks.autoattack import run_autoattack
from raat_core.attacks.pgd import Pgd
from raat_core.cells.evaluations import AutoAttackEvaluation, Evaluation, PgdEvaluation
from raat_core.evaluation.accuracy import (
    NO_CLASS,
    pgd_batches,
    predicted_classes,
    require_evaluation_mode,
)


def predict_batch(
    model: nn.Module,
    evaluation: Evaluation,
    number: int,
    images: Tensor,
    labels: Tensor,
    check_stop: Callable[[], None] = lambda: None,
) -> Tensor:
    """Classes (B,) int64 predicted for a batch under an attack, or for its clean images.

    `NO_CLASS` where the logits are not finite.

    Args:
        model: in evaluation mode, on the images' device.
        evaluation: the attack.
        number: of the batch, from 0; PGD's starts are a function of it.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) int64.
        check_stop: called before every restart of PGD and every forward of AutoAttack; may raise
            to stop.

    Raises:
        ValueError: the model is in training mode.
        UserError: there are fewer classes than AutoAttack's targeted loss needs.
    """
    require_evaluation_mode(model)
    if isinstance(evaluation, AutoAttackEvaluation):
        adversarial, predictions = run_autoattack(model, images, labels, evaluation, check_stop)
        # The package names a class where logits are not finite, too.
        has_class = _classes(model, adversarial) != NO_CLASS
        return predictions.where(has_class, NO_CLASS)
    if isinstance(evaluation, PgdEvaluation):
        return _predict_under_pgd(model, evaluation, number, images, labels, check_stop)
    return _classes(model, images)


def _predict_under_pgd(
    model: nn.Module,
    evaluation: PgdEvaluation,
    number: int,
    images: Tensor,
    labels: Tensor,
    check_stop: Callable[[], None],
) -> Tensor:
    """Of several restarts, a sample's outcome is the first wrong prediction, if there is one."""
    pgd = Pgd(
        evaluation.norm,
        float(evaluation.epsilon),
        float(evaluation.step_size),
        evaluation.steps,
        evaluation.objective,
    )
    outcome = labels
    for restart in range(evaluation.restarts):
        check_stop()
        attack = pgd_batches(model, pgd, evaluation.seed, "evaluation", restart)
        predictions = _classes(model, attack(images, labels, number))
        outcome = torch.where(outcome == labels, predictions, outcome)
    return outcome


def _classes(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return predicted_classes(model(images))
