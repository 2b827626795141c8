"""The transfer attack: PGD on another cell's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raat_core.cells.transfer import TransferEvaluation
from raat_core.evaluation.attacks import ProjectedGradientDescent
from raat_core.interface.attack import Attack, AttackBatch
from raat_core.interface.registry import register

if TYPE_CHECKING:
    from torch import nn


@register
class Transfer(ProjectedGradientDescent):
    """Images that PGD makes on another model; of several restarts, the first that is taken in.

    Its costs are those of a source of the same architecture.
    """

    Settings = TransferEvaluation
    settings: TransferEvaluation
    version = 1
    purpose = Attack.purpose

    def followed(self, model: nn.Module, batch: AttackBatch) -> nn.Module:
        """The source's."""
        return batch.models["source"]
