"""Copies of models for what a training step asks of them without gradients of weights."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from raat_core.attacks.pgd import NOTHING, Live, Pgd
from raat_core.fast.arithmetic import compute_logits
from raat_core.fast.folding import FoldedModel, fold
from raat_core.fast.graphs import Recordings
from raat_core.fast.switches import FastPaths
from raat_core.models.modes import in_mode
from raat_core.specs.precision import Arithmetic


@dataclass
class _Copy:
    """A folded copy, and what was recorded of attacks on it."""

    folded: FoldedModel | None
    """None: the model cannot be folded."""
    recordings: Recordings = field(default_factory=Recordings)


_Copies = dict[torch.dtype | None, _Copy]


class FrozenModels:
    """Models in evaluation mode that change between two calls, through folded copies of them.

    Copies are made on first use and brought up to date in place whenever a model is asked for:
    methods may change parameters and buffers at any time, or put others in their place. What else a
    model computes with (attributes of its code, hooks) is as it was when the copy was made. A model
    that cannot be folded is used itself.
    """

    def __init__(self, fast: FastPaths) -> None:
        self.fast = fast
        self._copies: weakref.WeakKeyDictionary[nn.Module, _Copies] = weakref.WeakKeyDictionary()

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
        folded = self._copy_of(model, images, arithmetic).folded
        if folded is not None:
            folded.refresh()
            try:
                yield folded.module
            finally:
                folded.rest()
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
        begun: Tensor,
        arithmetic: Arithmetic,
        live: Live = NOTHING,
    ) -> Tensor:
        """`Pgd.ascend` from `begun` on, on the model in evaluation mode."""
        with self.frozen(model, images, arithmetic) as frozen:

            def ascend(images: Tensor, labels: Tensor, begun: Tensor, *radii: Tensor) -> Tensor:
                return pgd.ascend(
                    lambda batch: compute_logits(frozen, batch, arithmetic),
                    images,
                    labels,
                    begun,
                    replace(live, radii=radii[0]) if radii else live,
                )

            radii = () if live.radii is None else (live.radii,)
            if frozen is model or not self._records(images, live):
                return ascend(images, labels, begun, *radii)
            recordings = self._copy_of(model, images, arithmetic).recordings
            return recordings.run((pgd, arithmetic), ascend, images, labels, begun, *radii)

    def _records(self, images: Tensor, live: Live) -> bool:
        return self.fast.cuda_graphs and images.is_cuda and live.can_be_recorded

    def _copy_of(self, model: nn.Module, images: Tensor, arithmetic: Arithmetic) -> _Copy:
        if not self.fast.fold:
            return _Copy(None)
        copies = self._copies.setdefault(model, {})
        dtype = torch.bfloat16 if arithmetic == "bf16" else None
        known = copies.get(dtype)
        if known is None or (known.folded is not None and not known.folded.is_of(model)):
            copies[dtype] = _Copy(fold(model, images, dtype, winograd=self.fast.winograd))
        return copies[dtype]
