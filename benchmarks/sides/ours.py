"""A training step of this project."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from raat_core.data.dataset import Split
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import FastPaths
from raat_core.training.trainee import Trainee
from sides.job import Job, Side, half_correct, predictions, random_pixels


def ours(job: Job) -> Side:
    """A step of this project: as the training loop does it, from the pixels on the device on."""
    use_ieee_arithmetic()
    cell, device = job.cell(), torch.device(job.device)
    fast = FastPaths(job.fold, job.winograd, job.channels_last, job.repeats, job.cuda_graphs)
    trainee = Trainee.build(cell, device, fast)
    model = trainee.model
    pixels = random_pixels(2 * job.batch_size).to(device)
    split = Split(pixels, half_correct(model, pixels), 255, fast.memory_format)
    model.train()
    if not job.input_gradients:
        _attack_through_the_weights(trainee.frozen)
    indices = torch.arange(job.batch_size, device=device)
    short = cell.model_copy(
        update={"threat_model": cell.threat_model.model_copy(update={"steps": 1})}
    )

    def step(trainee: Trainee = trainee) -> None:
        trainee.update(trainee.draw(split, indices, epoch=0, number=0))

    def correct() -> float:
        return float((predictions(model, pixels) == split.labels).double().mean())

    step(replace(trainee, cell=short))
    return step, correct


def _attack_through_the_weights(frozen: FrozenModels) -> None:
    """As attacks that call `backward()` do."""
    from raat_core.attacks import pgd

    class Through:
        @staticmethod
        def grad(loss: Tensor, images: Tensor) -> tuple[Tensor]:
            for copies in frozen._copies.values():
                for copied in copies.values():
                    if copied.folded is not None:
                        copied.folded.module.requires_grad_(True).zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            assert images.grad is not None
            return (images.grad,)

    class Torch:
        autograd = Through

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    pgd.torch = Torch()  # type: ignore[assignment, attr-defined]
