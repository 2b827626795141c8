"""What AutoAttack's authors look for in a model before they attack it, image by image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor

SAME_LOGITS = 1e-4
"""l2 distance of normalised logits above which they differ; the package's."""
A_PROBABILITY = 1e-5
"""How exactly outputs are in [0, 1] and sum to 1 where they are probabilities; the package's."""
REPEATS = 5
"""Forwards that are compared; the package's."""
_GRADIENTS = {torch.autograd.grad.__code__, torch.autograd.backward.__code__}


def probe(
    model: Callable[[Tensor], Tensor], images: Tensor, repeats: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, K), and of every image what is unusual of them, (B,) bool by name.

    `varies`: they differ when they are asked for again, or the class does. `optimises`: the model
    computes gradients while it predicts. `probabilities`: its outputs are no logits.

    Args:
        model: logits of images.
        images: (B, C, H, W) in [0, 1].
        repeats: how often they are asked for; once says nothing of `varies`.
    """
    with _gradients_noticed() as noticed:
        logits = model(images)
    found = torch.stack([logits, *(model(images) for _ in range(repeats - 1))], 1)
    normalised = found / (found.norm(dim=2, keepdim=True) + 1e-10)
    distances = torch.cdist(normalised, normalised, compute_mode="donot_use_mm_for_euclid_dist")
    classes = found.argmax(2)
    varies = (distances.amax((1, 2)) > SAME_LOGITS) | (classes != classes[:, :1]).any(1)
    within = (logits > -A_PROBABILITY) & (logits < 1 + A_PROBABILITY)
    probabilities = within.all(1) & ((logits.sum(1) - 1).abs() < A_PROBABILITY)
    optimises = torch.full_like(varies, bool(noticed))
    return logits, {"varies": varies, "optimises": optimises, "probabilities": probabilities}


@contextmanager
def _gradients_noticed() -> Iterator[list[str]]:
    """Names of torch's functions for gradients that are called inside, in this thread."""
    noticed: list[str] = []

    def notice(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code in _GRADIENTS:
            noticed.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        yield noticed
    finally:
        sys.setprofile(before)
