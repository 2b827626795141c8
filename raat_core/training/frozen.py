"""Copies of models for what a training step asks of them without gradients of weights."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raat_core.attacks.pgd import Logits, Pgd
from raat_core.fast_paths import FastPaths
from raat_core.models.arithmetic import compute_logits
from raat_core.models.build import in_mode
from raat_core.models.folding import FoldedModel, fold
from raat_core.precision import Arithmetic
from raat_core.training.graphs import Recordings

_TRIED_ON = 2
"""Images that a new copy is compared with its model on."""

Copies = dict[torch.dtype | None, FoldedModel | None]


class FrozenModels:
    """Models in evaluation mode that change between two calls, through folded copies of them.

    Copies are made on first use and brought up to date in place whenever a model is asked for:
    methods may change weights and statistics within a step as they like. A model that cannot be
    folded is used itself.
    """

    def __init__(self, fast: FastPaths) -> None:
        self.fast = fast
        self._copies: weakref.WeakKeyDictionary[nn.Module, Copies] = weakref.WeakKeyDictionary()
        self._recordings = Recordings()

    @contextmanager
    def frozen(
        self, model: nn.Module, images: Tensor, arithmetic: Arithmetic = "fp32"
    ) -> Iterator[nn.Module]:
        """`model` as it is now, in evaluation mode.

        Args:
            model: which.
            images: (N, C, H, W), some of those that it will see.
            arithmetic: that it will be used in.
        """
        copied = self._copy_of(model, images, arithmetic)
        if copied is not None:
            copied.refresh()
            yield copied.module
            return
        with in_mode(model, training=False):
            yield model

    def logits(self, model: nn.Module, images: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Evaluation-mode logits (N, K) of images (N, C, H, W), without gradients."""
        with torch.no_grad(), self.frozen(model, images, arithmetic) as frozen:
            return compute_logits(frozen, images, arithmetic)

    def attack(
        self,
        pgd: Pgd,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        draws: torch.Generator,
        arithmetic: Arithmetic,
    ) -> Tensor:
        """`Pgd.run` on the model in evaluation mode."""
        perturbed = pgd.perturb(images, draws)
        with self.frozen(model, images, arithmetic) as frozen:

            def ascend(images: Tensor, labels: Tensor, perturbed: Tensor) -> Tensor:
                logits: Logits = lambda batch: compute_logits(frozen, batch, arithmetic)  # noqa: E731
                return pgd.ascend(logits, images, labels, perturbed)

            if frozen is model or not (self.fast.cuda_graphs and images.is_cuda):
                return ascend(images, labels, perturbed)
            return self._recordings.run((frozen, pgd), ascend, images, labels, perturbed)

    def _copy_of(
        self, model: nn.Module, images: Tensor, arithmetic: Arithmetic
    ) -> FoldedModel | None:
        if not self.fast.fold:
            return None
        copies = self._copies.setdefault(model, {})
        dtype = torch.bfloat16 if arithmetic == "bf16" else None
        if dtype not in copies:
            copies[dtype] = fold(model, images[:_TRIED_ON], dtype)
        return copies[dtype]
