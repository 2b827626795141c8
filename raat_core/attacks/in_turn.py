"""Attacks one after the other, each on the images that those before it left, as AutoAttack does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from raat_core.attacks.probe import probe
from raat_core.attacks.watched import Watched, ZeroAtStart
from raat_core.interface.attack import Outcome, Work

Perturb: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Images (B, C, H, W) and labels (B,) to adversarial images, where it finds some."""
MISCLASSIFIED, STANDS = -1, 0
"""Of the detail `broken_by`: without attack, and under all; others count the attacks from 1."""
PROBE = "probe"
"""Of `Outcome.work`: the forwards that look for what is unusual."""
_SCALE_FREE = ("apgd-dlr", "apgd-t")
"""Their losses vanish with no scale of the logits: a gradient of zero has another reason."""


def run_in_turn(
    model: Watched,
    build: Callable[[int], Mapping[str, Perturb]],
    images: Tensor,
    labels: Tensor,
    predicted: Callable[[Tensor], Tensor],
    repeats: int,
    gradients: int = 1,
) -> Outcome:
    """Adversarial images, classes, what broke each image, and what every attack took.

    An image is broken by the first attack under whose perturbation one forward misclassifies it. It
    is changed where an attack broke it; otherwise the clean one comes back. Details: `broken_by`;
    `zero_start`, whether the gradient of the DLR loss was exactly zero where APGD started (without
    such a loss, of the cross-entropy); and those of `probe`.

    Args:
        model: logits of images in [0, 1].
        build: from the number of classes, the attacks by name in their order.
        images: (B, C, H, W) in [0, 1], on the model's device; attacked all at once.
        labels: (B,) int64.
        predicted: logits (B, K) to classes (B,) int64.
        repeats: see `probe`.
        gradients: of a random model, how many an attack takes the mean of.
    """
    # Packages look at gradients by `view`, which channels_last images do not allow.
    images = images.contiguous()
    work: dict[str, Work] = {}
    with torch.no_grad(), torch.random.fork_rng():
        with _Measured(model, work, PROBE):
            logits, unusual = probe(model, images, repeats)
        attacks = build(logits.shape[1])
        classes, adversarial = predicted(logits), images.clone()
        broken_by = torch.where(classes == labels, STANDS, MISCLASSIFIED)
        zero_start = torch.zeros_like(labels, dtype=torch.bool)
        watched = [name for name in attacks if name in _SCALE_FREE] or ["apgd-ce"]
        for number, (name, perturb) in enumerate(attacks.items(), 1):
            with _Measured(model, work, name):
                index = (broken_by == STANDS).nonzero()[:, 0]
                if len(index) == 0:
                    continue
                start = ZeroAtStart(index, gradients)
                model.on_gradient = start if name in watched else None
                found = perturb(images[index], labels[index])
                model.on_gradient = None
                now = predicted(model(found))
                broken = now != labels[index]
                hit = index[broken]
                adversarial[hit], classes[hit] = found[broken].detach(), now[broken]
                broken_by[hit] = number
                zero_start[index] |= start.zero
    details = {"broken_by": broken_by, "zero_start": zero_start, **unusual}
    return Outcome(adversarial, classes, details, work)


class _Measured:
    """Adds what happens inside to the work of a name."""

    def __init__(self, model: Watched, work: dict[str, Work], name: str) -> None:
        self._model, self._work, self._name = model, work, name

    def __enter__(self) -> None:
        self._before = time.monotonic(), self._model.forwards, self._model.gradients

    def __exit__(self, *raised: object) -> None:
        seconds, forwards, gradients = self._before
        self._work[self._name] = Work(
            time.monotonic() - seconds,
            self._model.forwards - forwards,
            self._model.gradients - gradients,
        )
