"""A training step of the authors' own code."""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
from torch import Tensor, nn

from raat_core.fast.arithmetic import in_arithmetic, use_ieee_arithmetic
from sides.job import LEARNING_RATE, Job, Side
from sides.textbook import textbook_batches

FUNCTIONS = {
    "pgd-at": "adv_train",
    "trades": "adv_trades",
    "mart": "adv_mart",
    "cons-at": "adv_train_consistency",
    "raat": "adv_train_bd",
    "raat++": "adv_mart_bd",
}


def released(job: Job) -> Side:
    """One step of the authors' training function on a batch of the DataLoader"""
    use_ieee_arithmetic()
    sys.path.insert(0, job.side)
    if job.device == "cpu":
        Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    _provide_what_is_imported_and_not_called()
    try:
        from adv_lib.attack import attack_module  # type: ignore[import-not-found]
    except ImportError as error:
        raise SystemExit(f"the released code cannot be imported: {error}") from None
    from importlib import import_module

    from models.resnet import BasicBlock, ResNet  # type: ignore[import-not-found]

    train = import_module(f"training.adv_train.{FUNCTIONS[job.method]}").train
    model = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    settings = types.SimpleNamespace(
        n_gpus=1, optimizer="sgd", distance="Linf", adv_method="pgd", epsilon=8 / 255,
        alpha=2 / 255, n_iters=10, beta=6.0, lam=1.0, T=0.5, BD_alpha=0.75, BD_boundary_range=0.1,
        augment_type="base",
    )  # fmt: skip
    criterion = nn.CrossEntropyLoss()
    adversary, _ = attack_module(settings, model, criterion)
    side = _Released(job, model, train, settings, criterion, adversary)
    return side.step, side.correct


def _provide_what_is_imported_and_not_called() -> None:
    """Advertorch 0.2.3 imports a function that torch has no more, the code's log tensorboardX."""
    vars(sys.modules["torch.autograd.gradcheck"])["zero_gradients"] = None
    writer = types.ModuleType("tensorboardX")
    vars(writer)["SummaryWriter"] = None
    sys.modules.setdefault("tensorboardX", writer)


class _Released:
    """Feeds the authors' `train` one batch at a time, as an epoch of one step."""

    def __init__(self, job: Job, model: nn.Module, train: Any, *rest: Any) -> None:
        self.job, self.model, self.train = job, model, train
        self.settings, self.criterion, self.adversary = rest
        self.optimizer = torch.optim.SGD(
            model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=5e-4
        )
        self.scheduler = types.SimpleNamespace(step=lambda: None)
        self.logger = types.SimpleNamespace(
            log=lambda line: None, scalar_summary=lambda *values: None
        )
        self._draw, self.correct = textbook_batches(job, model)
        self.step()

    def step(self) -> None:
        """Of one batch."""
        *views, labels = next(self._draw)
        images = views if len(views) > 1 else views[0]
        with in_arithmetic("tf32" if self.job.precision == "tf32" else "fp32"):
            self.train(
                self.settings, 0, self.model, self.criterion, self.optimizer, self.scheduler,
                [(images, labels)], self.adversary, self.logger,
            )  # fmt: skip
