"""Attacks on a trained cell: one record each; what is already recorded is not computed again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raat_core.attacks.autoattack import run_autoattack
from raat_core.attacks.pgd import Pgd
from raat_core.cell_folder import CellFolder, Weights
from raat_core.data.dataset import DataSet, Split, evenly_spaced
from raat_core.environment import git_commit, hardware, now, scheduler_job, versions
from raat_core.errors import UserError
from raat_core.evaluation.accuracy import pgd_batches, predict, require_evaluation_mode
from raat_core.evaluation.records import Record
from raat_core.models.build import build_model_for, use_precision
from raat_core.spec import (
    AutoAttackEvaluation,
    Cell,
    Evaluation,
    EvaluationList,
    PgdEvaluation,
    evaluation_name,
)


def load_model(cell: Cell, weights: Weights, device: torch.device) -> nn.Module:
    """A trained model in evaluation mode, its parameters frozen."""
    model = build_model_for(cell.architecture, cell.dataset, cell.seed)
    model.load_state_dict({name: torch.from_numpy(a) for name, a in weights.arrays.items()})
    return model.to(device).eval().requires_grad_(False)


def predict_under(
    model: nn.Module,
    split: Split,
    evaluation: Evaluation,
    check_stop: Callable[[], None] = lambda: None,
) -> Tensor:
    """Classes (N,) that a model predicts for a split under an attack, or for clean images.

    Of several restarts, a sample's outcome is the first wrong prediction, if there is one.

    Raises:
        ValueError: the model is in training mode.
    """
    require_evaluation_mode(model)
    if isinstance(evaluation, PgdEvaluation):
        return _predict_under_pgd(model, split, evaluation, check_stop)
    if isinstance(evaluation, AutoAttackEvaluation):
        images, labels = split.batch(torch.arange(len(split), device=split.labels.device))
        return run_autoattack(model, images, labels, evaluation, check_stop)[1]
    return predict(model, split, evaluation.batch_size, between_batches=check_stop)


def _predict_under_pgd(
    model: nn.Module, split: Split, evaluation: PgdEvaluation, check_stop: Callable[[], None]
) -> Tensor:
    pgd = Pgd(
        evaluation.norm,
        float(evaluation.epsilon),
        float(evaluation.step_size),
        evaluation.steps,
        evaluation.objective,
    )
    outcome = split.labels
    for restart in range(evaluation.restarts):
        attack = pgd_batches(model, pgd, evaluation.seed, "evaluation", restart)
        predictions = predict(model, split, evaluation.batch_size, attack, check_stop)
        outcome = torch.where(outcome == split.labels, predictions, outcome)
    return outcome


def evaluate_cell(
    folder: CellFolder,
    evaluations: EvaluationList,
    data: DataSet,
    device: torch.device,
    check_stop: Callable[[], None] = lambda: None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the attacks that have no record yet, and summarise all of them.

    Returns:
        {checkpoint, epoch, weights_sha256, attacks: [{label, record, accuracy, samples}]},
        accuracies in percent.

    Raises:
        Interrupted: `check_stop` asked for it; finished attacks are recorded.
        UserError: the cell is not trained, or a file is damaged.
    """
    checkpoint = evaluations.checkpoint
    weights = folder.read_weights(checkpoint)
    use_precision("fp32")
    model = load_model(folder.read_cell(), weights, device)
    test = data.test.to(device)
    origin = {"checkpoint": checkpoint, "epoch": weights.epoch, "weights_sha256": weights.sha256}
    traced = {**origin, "data_sha256": data.sha256}
    summaries = []
    for evaluation in evaluations.attacks:
        check_stop()
        name = evaluation_name(evaluation, checkpoint)
        record = _recorded(folder.record(name), weights.sha256)
        if record is None:
            record = _attack(model, evaluation, test, device, check_stop, traced)
            record.write(folder.record(name))
        count = len(record.index)
        report(f"{evaluation.label}: {record.accuracy:.2f}% of {count} test images")
        summaries.append(
            {
                "label": evaluation.label,
                "record": name,
                "accuracy": record.accuracy,
                "samples": count,
                "seconds": record.metadata["seconds"],
            }
        )
    return {**origin, "attacks": summaries}


def _recorded(path: Path, weights_sha256: str) -> Record | None:
    """The record at `path`, if there is one and it is of these weights."""
    if not path.exists():
        return None
    record = Record.read(path)
    return record if record.metadata["weights_sha256"] == weights_sha256 else None


def _attack(
    model: nn.Module,
    evaluation: Evaluation,
    test: Split,
    device: torch.device,
    check_stop: Callable[[], None],
    origin: dict[str, Any],
) -> Record:
    total = len(test)
    count = total if evaluation.samples is None else evaluation.samples
    if count > total:
        raise UserError(f"{evaluation.label}: samples = {count}: the test set has {total} images")
    index = evenly_spaced(total, count)
    split = test.take(index.to(device))
    started = time.monotonic()
    predictions = predict_under(model, split, evaluation, check_stop)
    return Record(
        index=index.int().numpy(),
        label=split.labels.int().cpu().numpy(),
        prediction=predictions.int().cpu().numpy(),
        metadata={
            **origin,
            "attack": evaluation.to_json(),
            "split": "test",
            "test_size": total,
            "seconds": round(time.monotonic() - started, 3),
            "finished": now(),
            "git_commit": git_commit(),
            "scheduler_job": scheduler_job(),
            "hardware": hardware(device),
            "versions": versions(*("pyautoattack",) * (evaluation.kind == "autoattack")),
        },
    )
