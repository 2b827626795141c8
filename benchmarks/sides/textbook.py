"""A training step of the textbook (baseline.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from raat_core.fast.arithmetic import use_ieee_arithmetic
from sides.job import LEARNING_RATE, Job, Side, half_correct, predictions, random_pixels

WORKERS = 2
"""Of the baseline's DataLoader."""


def plain(job: Job) -> Side:
    """A step of the textbook, from the DataLoader on."""
    from sides import baseline

    use_ieee_arithmetic()
    baseline.WHOLE = not job.input_gradients
    model = baseline.NETWORKS[job.architecture]()
    loader, correct = textbook_batches(job, model)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        *views, labels = (tensor.to(job.device) for tensor in next(loader))
        loss = baseline.OBJECTIVES[job.method](model, views, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    baseline.STEPS = 1
    step()
    baseline.STEPS = 10
    return step, correct


def textbook_batches(
    job: Job, model: nn.Module
) -> tuple[Iterator[list[Tensor]], Callable[[], float]]:
    """Views and labels from a DataLoader on the CPU, and the share that is correct.

    The model ends on the job's device.
    """
    from sides import baseline

    pixels = random_pixels(4 * job.batch_size)
    labels = half_correct(model, pixels)
    model.to(job.device).train()
    views = baseline.VIEWS.get(job.method, 1)
    dataset = baseline.Images(pixels.permute(0, 2, 3, 1).numpy(), labels.tolist(), views)

    def correct() -> float:
        found = predictions(model, pixels.to(job.device)).cpu()
        return float((found == labels).double().mean())

    return baseline.batches(dataset, job.batch_size, WORKERS), correct
