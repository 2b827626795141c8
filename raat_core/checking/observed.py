"""A method's steps, watched: waits, draws, costs, and what its loss depends on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raat_core.cells.cell import Cell
from raat_core.checking.attributes import attributes_of, changed, held_by
from raat_core.checking.draws import GENERATORS, Draws, seed_generators
from raat_core.checking.findings import Report
from raat_core.checking.places import Code
from raat_core.checking.registered import Extension
from raat_core.checking.resuming import NOT_METHODS_STATE
from raat_core.checking.tiny import Rehearsal
from raat_core.checking.watch import Waits, counted_flop
from raat_core.interface.method import Method
from raat_core.interface.operations import Passes
from raat_core.training.perturbation import Remembered
from raat_core.training.step import TrainingStep


@dataclass
class Watched:
    """What was seen of a method in a training."""

    waits: Waits
    draws: Draws
    flop_per_image: float = 0.0
    """Counted in the second epoch, a mean over its steps."""
    passes: Passes = field(default_factory=Passes)
    """The same, of images sent through the model and its copies."""
    remembers_in_loss: list[str] = field(default_factory=list)
    """Attributes that change when the loss is computed once more."""
    used_views: set[int] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def tell(self, report: Report, method: type[Method]) -> None:
        """Say what is wrong of it."""
        idle = self.draws.not_run()
        if idle:
            more = f", and {len(idle) - 3} more" if len(idle) > 3 else ""
            report.facts.append(
                f"not run, so not checked (--set may reach it): "
                f"{'; '.join(map(str, idle[:3]))}{more}"
            )
        for place, what in self.waits.found.items():
            report.wrong(
                "waits",
                f"{place}: {what} makes a GPU wait in every step; torch.where and methods of "
                f"tensors do not",
            )
        for (generator, at), phase in self.draws.found.items():
            where = "in a step" if at is None else str(at)
            why = "which a resumed training finds elsewhere"
            if generator == "torch" and phase == "step":
                why = "which goes on where a loss is computed twice in a step"
            report.wrong(
                "draws",
                f"{where}: draws from {GENERATORS[generator]}, {why}; step.draws(name) gives the "
                f"same again",
            )
        if self.remembers_in_loss:
            report.wrong(
                "twice",
                f"loss changes {', '.join(self.remembers_in_loss)}: under a recipe's weight "
                f"perturbation it is called twice in a step; what is remembered belongs into "
                f"after_step",
            )
        self._tell_of_views(report, method)
        uses = "cross_entropy" in self.used
        if method.smooths_labels and not uses:
            report.wrong(
                "smoothing",
                "smooths_labels = True, and loss does not use step.cross_entropy: a recipe's label "
                "smoothing would do nothing",
            )
        if uses and not method.smooths_labels:
            report.wrong(
                "smoothing",
                "loss uses step.cross_entropy without smooths_labels = True: a recipe's label "
                "smoothing is refused",
            )

    def _tell_of_views(self, report: Report, method: type[Method]) -> None:
        unused = [number for number in range(method.views) if number not in self.used_views]
        if not unused:
            return
        text = f"views = {method.views}, and the loss does not depend on {_in_words(unused)}"
        if len(unused) < method.views:
            report.wrong("views", f"{text}: each costs an augmentation, and assumed passes")
        else:
            report.hint("views", f"{text}: images without augmentation are step.natural")


def _in_words(views: list[int]) -> str:
    return ", ".join(f"step.views[{number}]" for number in views)


def watch(extension: Extension, cell: Cell, folder: Path) -> Watched:
    """Train two epochs step by step, and look."""
    code = Code(extension.files)
    watched = Watched(Waits(code), Draws(code))
    with watched.draws:
        # Without folded copies, so that the model sees all that is sent through it.
        rehearsal = Rehearsal(cell, folder, fast="repeats channels_last")
        rehearsal.method.start(rehearsal.model)
    seen = _CountPasses()
    for model in (rehearsal.model, *rehearsal.method.needed.values()):
        model.register_forward_pre_hook(seen)
    flop, images = 0, 0
    for epoch, number in rehearsal.positions():
        step = rehearsal.step(epoch, number)
        is_last = rehearsal.is_last_of_epoch(number)
        if is_last:
            _look_at_loss(rehearsal, step, watched)
            seen.counts.clear()
        watched.draws.phase = "step"
        with watched.draws, watched.waits:
            counted = counted_flop(lambda step=step: rehearsal.trainee.update(step))  # type: ignore[misc]
        watched.used |= step.used
        watched.draws.phase = "hook"
        if is_last:
            with watched.draws:
                rehearsal.method.after_epoch(epoch, rehearsal.model)
        if epoch == cell.recipe.epochs - 1:
            flop, images = flop + counted, images + len(step.labels)
            last = seen.passes(len(step.labels))
    watched.flop_per_image, watched.passes = flop / images, last
    return watched


class _CountPasses:
    """A hook that counts the images that a model sees, by what is asked of it."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __call__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        images = inputs[0]
        kind = "forwards"
        if torch.is_grad_enabled():
            kind = "gradients" if images.requires_grad else "updates"
        self.counts[kind] = self.counts.get(kind, 0) + len(images)

    def passes(self, images: int) -> Passes:
        """For each of so many images."""
        return Passes(**{kind: count / images for kind, count in self.counts.items()})


def _look_at_loss(rehearsal: Rehearsal, step: TrainingStep, watched: Watched) -> None:
    """Compute the loss some more times, and see what of the method changes, and what matters."""

    def losses(step: TrainingStep) -> dict[str, Tensor]:
        seed_generators("loss")
        return rehearsal.losses(step)

    def held() -> dict[str, Any]:
        return held_by(rehearsal.method, leave_out=NOT_METHODS_STATE)

    remembered = Remembered()
    expected = losses(replace(step, remembered=remembered))
    before = held()
    remembered.begin_again()
    losses(replace(step, remembered=remembered))
    for attribute in attributes_of(changed(before, held())):
        if attribute not in watched.remembers_in_loss:
            watched.remembers_in_loss.append(attribute)
    expected = losses(step)
    for number, view in enumerate(step.views):
        others = list(step.views)
        others[number] = view.roll(1, 0)
        found = losses(replace(step, views=tuple(others)))
        if any(not torch.equal(found[name], term) for name, term in expected.items()):
            watched.used_views.add(number)
