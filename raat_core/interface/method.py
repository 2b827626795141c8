"""What a training method is: an objective and what it needs around it.

Snakemake reads the settings of all methods while it builds its graph, and must not wait for torch:
the files of methods therefore import torch for type checking only. `raat_core.interface.losses` and
the methods of tensors are enough for most objectives; one that needs more imports torch inside
`loss`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from raat_core.interface.facts import CellFacts
from raat_core.interface.operations import Passes
from raat_core.interface.settings import MethodSettings
from raat_core.interface.step import Step

if TYPE_CHECKING:
    from torch import Tensor, nn


class Method(ABC):
    """An objective and what it needs around it.

    A subclass sets the class attributes and `loss`; the hooks and the state are for methods that
    keep something between steps. `version` is part of every cell's identity: raise it when a
    change alters what the method computes.
    """

    Settings: ClassVar[type[MethodSettings]]
    version: ClassVar[int] = 1
    trains: ClassVar[bool] = True
    """False of `given` alone: the weights of its cells come from a file."""
    views: ClassVar[int] = 1
    """Independent augmentations of every sample."""
    smooths_labels: ClassVar[bool] = False
    """Whether `loss` takes its supervised term from `Step.cross_entropy`, so that a recipe's label
    smoothing means something. It is refused otherwise, and the first step holds it to be true."""
    needed: Mapping[str, nn.Module] = MappingProxyType({})
    """The models of the cells that the settings ask for (`NeededCell`), by setting: trained,
    frozen, in evaluation mode, on the cell's device. They are there from `start` and before the
    first step, not in `__init__`."""

    def __init__(self, settings: MethodSettings, cell: CellFacts) -> None:
        self.settings = settings
        self.cell = cell

    @abstractmethod
    def loss(self, step: Step) -> dict[str, Tensor]:
        """The objective's terms on one batch, scalars by name; their sum is minimised.

        All steps return the same names. Under a recipe's weight perturbation it is called twice in
        a step: what the method remembers belongs into `after_step`.
        """

    @property
    def whole_batches(self) -> str:
        """The setting with which `loss` forwards whole batches in training mode, for a message.

        It is given where BatchNorm has too few values of a part of one. Empty: there is none.
        """
        return ""

    def passes(self, steps: int, correct: float) -> Passes:
        """What `loss` costs for each sample of the batch, so that a plan can tell hours ahead.

        Estimates follow it and no result does. Without an override: an attack on every view, and
        the clean and the attacked views forwarded once each with gradients.

        Args:
            steps: of the threat model's attack.
            correct: the share of samples that are classified correctly without attack, in [0, 1],
                for objectives that forward these alone.
        """
        return Passes(gradients=steps * self.views, updates=2 * self.views)

    def start(self, model: nn.Module) -> None:
        """Called once, before the first step of a training; a resumed one is not started again.

        The weights of `model` may be changed.
        """

    def before_update(self, step: Step) -> None:
        """Called between backward and the optimiser's step: gradients are there, to be changed."""

    def after_step(self, step: Step) -> None:
        """Called after the optimiser's step; gradients are there until it returns."""

    def after_epoch(self, epoch: int, model: nn.Module) -> None:
        """Called after the last step of an epoch, counted from 0, before `model` is evaluated.

        Its weights may be changed: training goes on from them.
        """

    def evaluated(self, model: nn.Module) -> dict[str, nn.Module]:
        """The models to evaluate after an epoch, by name; `model` is the trained one.

        The first is the method's result: the best checkpoint is chosen by its accuracy, and its
        weights are kept and reported. Others get columns `<name>_clean_accuracy` and
        `<name>_robust_accuracy` in the history. The names are the same in all epochs.
        """
        return {"trained": model}

    def state(self) -> dict[str, Tensor]:
        """Tensors to save with the checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned, on the model's device."""
