"""What a cell's training and attacks cost, in floating-point operations counted from its spec.

`raat_core.interface.operations` says what is counted. Needs no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation
from raat_core.interface.architecture import OperationsCount
from raat_core.interface.attack import Attack
from raat_core.interface.method import Method
from raat_core.interface.operations import ImageShape, Operations, Passes, ResidualNetwork
from raat_core.interface.registry import build_attack, build_method
from raat_core.specs.averaging import Swa
from raat_core.specs.recipe import Recipe
from raat_core.validation import one_line


@dataclass(frozen=True)
class Accuracies:
    """Shares of samples, in [0, 1], that a model classifies correctly."""

    clean: float
    robust: float
    """Under PGD."""


_ASSUMED = {
    "cifar10": Accuracies(0.83, 0.55),
    "cifar100": Accuracies(0.57, 0.32),
    "tiny-imagenet": Accuracies(0.47, 0.24),
}
_ASSUMED_ELSEWHERE = Accuracies(0.8, 0.5)


def assumed_accuracies(dataset: str) -> Accuracies:
    """Of a model that is not trained yet: means of the paper's Table 1, or a guess."""
    return _ASSUMED.get(dataset, _ASSUMED_ELSEWHERE)


_RESNET_18 = ResidualNetwork("basic", 64, (64, 128, 256, 512), (2, 2, 2, 2)).operations
"""Assumed of an architecture that does not say, until they are counted."""
_counted: dict[tuple[str, ImageShape], Operations] = {}
"""As jobs counted them, by architecture; the number of classes hardly matters."""


def operations_of(cell: Cell) -> Operations:
    """Of the cell's model for one of its images."""
    data = DATA_SETS[cell.dataset]
    return operations(cell.architecture, data.image_shape, data.classes)


def operations(architecture: str, image_shape: ImageShape, classes: int) -> Operations:
    """Of an architecture for one image: as it says, as was counted, or assumed."""
    count = ARCHITECTURES[architecture].operations
    known = _counted.get((architecture, image_shape)) if count is None else None
    return known or _stated(count or _RESNET_18, image_shape, classes)


@lru_cache(maxsize=256)
def _stated(count: OperationsCount, image_shape: ImageShape, classes: int) -> Operations:
    return count(image_shape, classes)


def operations_are_assumed(architecture: str, image_shape: ImageShape) -> bool:
    """Whether `operations` are those of another architecture."""
    is_stated = ARCHITECTURES[architecture].operations is not None
    return not is_stated and (architecture, image_shape) not in _counted


def note_counted(architecture: str, image_shape: ImageShape, counted: Operations) -> None:
    """Take it that a model costs so much for one image, in this process from now on."""
    _counted[architecture, image_shape] = counted


def training_flop(cell: Cell, accuracies: Accuracies | None = None, done: int = 0) -> float:
    """FLOP of training a cell, evaluations for the best checkpoint among it; 0 if it is given.

    Args:
        cell: which.
        accuracies: of the model while it trains; without, assumed by the data set.
        done: epochs that are trained already.
    """
    if not cell.trains:
        return 0.0
    accuracies = accuracies or assumed_accuracies(cell.dataset)
    model, selection, epochs = operations_of(cell), cell.selection, cell.recipe.epochs
    train_size, _ = _split_sizes(cell)
    method = build_method(cell.method, cell.facts())
    step = _passes_of_method(method, accuracies.clean)
    looks = _evaluated(epochs, selection.every) - _evaluated(done, selection.every)
    if epochs > done and epochs % selection.every:
        looks += 1  # The last epoch always is evaluated.
    looks = max(0, looks)
    samples = train_size * batch_growth(cell)
    updates = max(0, epochs - done) * samples * step.flop(model)
    beside = samples * _beside(cell.recipe, step, done, looks).flop(model)
    times = 2 if cell.recipe.averaging and cell.recipe.averaging.evaluate_other else 1
    return updates + beside + times * looks * look_flop(cell, accuracies)


def _beside(recipe: Recipe, step: Passes, done: int, looks: int) -> Passes:
    """What a recipe adds to the steps of a training, for each training image.

    Args:
        recipe: which.
        step: what the method's own steps cost.
        done: epochs that are trained already.
        looks: evaluations that are to come.
    """
    passes = Passes()
    if recipe.perturbation is not None:
        perturbed = max(0, recipe.epochs - max(done, recipe.perturbation.from_epoch))
        passes += perturbed * Passes(updates=step.updates)
    if isinstance(recipe.averaging, Swa):
        share = 1 - recipe.averaging.from_epoch / recipe.epochs
        passes += Passes(forwards=share * looks)  # BatchNorm's statistics, estimated anew.
    return passes


def look_flop(cell: Cell, accuracies: Accuracies | None = None) -> float:
    """FLOP of an evaluation for the best checkpoint: of clean images, and of attacked ones."""
    selection, (_, size) = cell.selection, _split_sizes(cell)
    attacked = Passes(forwards=1, gradients=selection.steps)
    if selection.by == "clean":
        attacked = Passes()
    elif selection.attack is not None:
        accuracies = accuracies or assumed_accuracies(cell.dataset)
        classes = DATA_SETS[cell.dataset].classes
        attacked = evaluation_passes(selection.attack, classes, accuracies)
    model = operations_of(cell)
    return size * Passes(forwards=1).flop(model) + selection.images(size) * attacked.flop(model)


def batch_growth(cell: Cell) -> float:
    """By what extra data multiplies the samples of an epoch."""
    whole, extra = cell.recipe.batch_size, cell.facts().extra_per_batch
    return whole / (whole - extra)


def _evaluated(epochs: int, every: int) -> int:
    """Of the first epochs, how many end with an evaluation."""
    return epochs // every


def _split_sizes(cell: Cell) -> tuple[int, int]:
    """Images to train on, and to choose the best checkpoint by."""
    data = DATA_SETS[cell.dataset]
    if cell.selection.split == "test":
        return data.train_size, data.test_size
    train_size = cell.selection.train_size(data.train_size)
    return train_size, data.train_size - train_size


def evaluation_flop(
    cell: Cell, evaluation: Evaluation, accuracies: Accuracies | None = None
) -> float:
    """FLOP of an attack on a trained cell.

    Args:
        cell: which.
        evaluation: the attack.
        accuracies: of the trained model; without, assumed by the data set.
    """
    data = DATA_SETS[cell.dataset]
    accuracies = accuracies or assumed_accuracies(cell.dataset)
    passes = evaluation_passes(evaluation, data.classes, accuracies)
    return evaluation.images(data.test_size) * passes.flop(operations_of(cell))


def evaluation_passes(evaluation: Evaluation, classes: int, accuracies: Accuracies) -> Passes:
    """What an attack costs for each sample, on average."""
    attack = build_attack(evaluation)
    shares = accuracies.clean, accuracies.robust
    passes = _told(
        lambda: attack.passes(classes, *shares),
        lambda: Attack.passes(attack, classes, *shares),
        f"attack '{evaluation.kind}'",
    )
    # Whether the image is classified correctly without it is looked at as well.
    return passes + Passes(forwards=1)


def depends_on_accuracies(evaluation: Evaluation) -> bool:
    """Whether the cost of an attack follows the accuracies of the model."""
    some = (Accuracies(clean, robust) for clean, robust in ((1.0, 1.0), (1.0, 0.0), (0.0, 0.0)))
    return len({evaluation_passes(evaluation, 10, each) for each in some}) > 1


def _passes_of_method(method: Method, correct: float) -> Passes:
    """What a step costs for each sample, of whose batch so many are classified correctly."""
    steps = method.cell.threat_model.steps
    return _told(
        lambda: method.passes(steps, correct),
        lambda: Method.passes(method, steps, correct),
        f"method '{method.settings.name}'",
    )


def _told(tell: Callable[[], object], assume: Callable[[], Passes], whose: str) -> Passes:
    """What an extension says it costs; what is assumed where it says nothing that can be used.

    An estimate is no reason to stop a run.
    """
    try:
        told = tell()
    except Exception as error:  # Its author's own code.
        _warn(f"{whose}: passes failed ({one_line(error)})")
        return assume()
    if isinstance(told, Passes):
        return told
    _warn(f"{whose}: passes returned {told!r:.60}, which is no raat_core.interface.Passes")
    return assume()


@lru_cache(maxsize=256)
def _warn(problem: str) -> None:
    """Once."""
    line = f"warning: {problem}; hours are estimated from an assumption"
    print(line, file=sys.stderr, flush=True)
