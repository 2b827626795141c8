"""Extra data in training: which of its samples are in which batch, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raat_core.data.dataset import DataSet, Split
from raat_core.errors import UserError
from raat_core.interface.facts import CellFacts
from raat_core.randomness import generator


@dataclass(frozen=True)
class JoinedSplit:
    """Training images and extra ones behind them; both on one device."""

    main: Split
    extra: Split

    def __len__(self) -> int:
        return len(self.main) + len(self.extra)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """As `Split.batch`; positions from `len(main)` on are of the extra images.

        All are looked up in both, which no device has to wait for; levels may differ.
        """
        size = len(self.main)
        images, labels = self.main.batch(indices.clamp(max=size - 1))
        extra_images, extra_labels = self.extra.batch((indices - size).clamp(min=0))
        is_extra = indices >= size
        chosen = torch.where(is_extra[:, None, None, None], extra_images, images)
        return (
            chosen.contiguous(memory_format=self.main.memory_format),
            torch.where(is_extra, extra_labels, labels),
        )


def with_extra(batches: Sequence[Tensor], facts: CellFacts, epoch: int) -> list[Tensor]:
    """An epoch's batches with their samples of the extra data behind those of the main one.

    A batch that is smaller than the others keeps the share. Extra samples go on from epoch to
    epoch through permutations that are functions of the seed and of the pass.

    Args:
        batches: positions in the training set, each (B,) int64.
        facts: of the cell.
        epoch: from 0.
    """
    if facts.extra_per_batch == 0:
        return list(batches)
    whole = facts.recipe.batch_size - facts.extra_per_batch
    counts = [round(len(batch) * facts.extra_per_batch / whole) for batch in batches]
    drawn = _drawn(facts, epoch * sum(counts), sum(counts)) + facts.train_size
    parts = torch.split(drawn.to(batches[0].device), counts)
    return [torch.cat(pair) for pair in zip(batches, parts, strict=True)]


def _drawn(facts: CellFacts, start: int, count: int) -> Tensor:
    """`count` positions of extra samples from the `start`th on, int64."""
    size = facts.extra_size
    first, last = start // size, (start + count - 1) // size
    passes = [
        torch.randperm(size, generator=generator("cpu", facts.seed, "extra", number))
        for number in range(first, last + 1)
    ]
    begin = start - first * size
    return torch.cat(passes)[begin : begin + count]


def require_extra(extra: DataSet, main: DataSet, pseudo_labelled: bool) -> Split:
    """The training images of extra data, if they go with the main ones.

    Raises:
        UserError: there are none, their shape is another, or labels are of more classes.
    """
    found, expected = tuple(extra.train.images.shape[1:]), tuple(main.train.images.shape[1:])
    if len(extra.train) == 0 or found != expected:
        raise UserError(
            f"extra_data: {len(extra.train)} training images of shape {found}; there must be some, "
            f"of the main data's shape {expected}"
        )
    if not pseudo_labelled and extra.classes > main.classes:
        raise UserError(f"extra_data: labels of {extra.classes} classes, more than {main.classes}")
    return extra.train
