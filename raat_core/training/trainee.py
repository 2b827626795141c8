"""What is trained, and one step of it: the method computes its loss, the weights are updated."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from raat_core.cells.cell import Cell
from raat_core.data.dataset import Split
from raat_core.errors import UserError
from raat_core.fast.arithmetic import in_arithmetic
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import FastPaths
from raat_core.interface.method import Method
from raat_core.interface.registry import build_method
from raat_core.models.build import build_model_for
from raat_core.randomness import seeded_on
from raat_core.training.averages import RecipeAverage, build_average
from raat_core.training.extra import JoinedSplit
from raat_core.training.optimisers import Optimiser, build_optimiser
from raat_core.training.perturbation import Remembered, WeightPerturbation, build_perturbation
from raat_core.training.step import TrainingStep
from raat_core.training.terms import require_state, require_terms


@dataclass(frozen=True)
class Trainee:
    """What is trained: the live objects, whose contents are saved."""

    cell: Cell
    model: nn.Module
    optimizer: Optimiser
    method: Method
    frozen: FrozenModels
    """Copies of models for what needs no gradients of weights."""
    average: RecipeAverage | None
    perturbation: WeightPerturbation | None

    @classmethod
    def build(
        cls, cell: Cell, device: torch.device, fast: FastPaths, train_size: int | None = None,
        extra_size: int | None = None,
    ) -> Trainee:  # fmt: skip
        """As it is before the first step; weights are a function of the cell's seed.

        Args:
            cell: what is trained.
            device: where.
            fast: which quicker ways are taken.
            train_size: training images; without, as `Cell.facts` has it.
            extra_size: images of the extra data; the same.
        """
        recipe = cell.recipe
        model = build_model_for(cell.architecture, cell.dataset, cell.seed).to(device).train()
        model.to(memory_format=fast.memory_format)
        method = build_method(cell.method, cell.facts(train_size, extra_size))
        return cls(
            cell=cell,
            model=model,
            optimizer=build_optimiser(model, recipe),
            method=method,
            frozen=FrozenModels(fast),
            average=build_average(recipe, model),
            perturbation=build_perturbation(recipe, model),
        )

    def start(self) -> None:
        """Before the first step; what the method reports is known from here on."""
        self.method.start(self.model)
        _ = self.evaluated

    def draw(
        self, split: Split | JoinedSplit, indices: Tensor, epoch: int, number: int
    ) -> TrainingStep:
        """The step on the samples at `indices` (B,), the `number`th of an epoch (both from 0)."""
        method = self.method
        return TrainingStep.draw(
            self.cell, self.model, self.frozen, split, indices, method.views, epoch, number,
            method.cell,
        )  # fmt: skip

    def update(self, step: TrainingStep) -> dict[str, Tensor]:
        """One step of the optimiser on a batch; returns the loss's terms, scalars by name.

        Raises:
            UserError: the method's loss is not what `Method.loss` says.
        """
        recipe, moment = self.cell.recipe, self.method.cell.moment(step.epoch, step.number)
        with in_arithmetic(self.cell.precision.training), self._layers_draws(step):
            if self.average is not None:
                self.average.before_step(step.epoch)
            perturbation = self._perturbation_at(step.epoch)
            if perturbation is None:
                terms = self._backward(step)
            else:
                step, terms = self._backward_perturbed(step, perturbation)
            self.method.before_update(step)
            if recipe.gradient_clipping is not None:
                self.optimizer.clip(recipe.gradient_clipping)
            self.optimizer.step(recipe.learning_rate_at(moment), recipe.momentum_at(moment))
            if perturbation is not None:
                perturbation.subtract()
            self.method.after_step(step)
            self.optimizer.zero_grad()  # The next step's graph takes their memory.
            if self.average is not None:
                self.average.after_step(step.epoch)
        return terms

    def _layers_draws(self, step: TrainingStep) -> AbstractContextManager[None]:
        """What layers draw from torch's own generators, as dropout does, is of this step alone."""
        return seeded_on(step.natural.device, self.cell.seed, "torch", step.epoch, step.number)

    def _backward(self, step: TrainingStep) -> dict[str, Tensor]:
        """The terms of the loss; the parameters have its gradients."""
        name = self.cell.method.name
        terms = require_terms(name, self.method.loss(step))
        if self.cell.recipe.label_smoothing > 0 and "cross_entropy" not in step.used:
            raise UserError(
                f"recipe.label_smoothing = {self.cell.recipe.label_smoothing}: the loss of method "
                f"'{name}' does not use step.cross_entropy, although it says `smooths_labels`"
            )
        self.optimizer.zero_grad()  # Of backwards within `loss`.
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        return terms

    def _perturbation_at(self, epoch: int) -> WeightPerturbation | None:
        perturbation = self.perturbation
        begun = perturbation is not None and epoch >= perturbation.settings.from_epoch
        return perturbation if begun else None

    def _backward_perturbed(
        self, step: TrainingStep, perturbation: WeightPerturbation
    ) -> tuple[TrainingStep, dict[str, Tensor]]:
        """As `_backward`, at weights that are perturbed along the gradient of the step's loss."""
        remembered = Remembered()
        self._backward(replace(step, remembered=remembered, at_rest=True))
        perturbation.add()
        remembered.begin_again()
        step = replace(step, remembered=remembered)
        once = self._memory() if step.number == 0 else {}
        terms = self._backward(step)
        for name, tensor in once.items():
            if not torch.equal(tensor, self.method_state()[name]):
                raise UserError(
                    f"recipe.perturbation: method '{self.cell.method.name}' changes its state "
                    f"'{name}' in its loss, which is computed twice in a step; it has to do so in "
                    f"after_step"
                )
        return step, terms

    def _memory(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.method_state().items()}

    def method_state(self) -> dict[str, Tensor]:
        """The method's tensors to save.

        Raises:
            UserError: it returned something else.
        """
        return require_state(self.cell.method.name, self.method.state())

    @property
    def evaluated(self) -> dict[str, nn.Module]:
        """The models to evaluate after an epoch, by name; the first one is reported.

        Raises:
            UserError: the recipe averages weights, and the method reports a model of its own.
        """
        models = self.method.evaluated(self.model)
        if self.average is None:
            return models
        if next(iter(models.values())) is not self.model:
            raise UserError(
                f"recipe.averaging: method '{self.cell.method.name}' reports a model of its own"
            )
        return self.average.evaluated(models)

    @property
    def reported(self) -> nn.Module:
        """The model whose weights are the training's result."""
        return next(iter(self.evaluated.values()))
