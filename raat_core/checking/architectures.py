"""Checks of an architecture: built, forwarded and trained for a step, on random images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.checking.attributes import Held, changed, held_by
from raat_core.checking.draws import GENERATORS, Draws, seed_generators, undisturbed
from raat_core.checking.findings import Report
from raat_core.checking.places import Code
from raat_core.checking.registered import Extension
from raat_core.checking.watch import Waits
from raat_core.fast.arithmetic import compute_logits
from raat_core.fast.folding import fold
from raat_core.interface.operations import ImageShape
from raat_core.models.build import build_model
from raat_core.models.count import count_operations
from raat_core.models.modes import tracked_norms
from raat_core.specs.precision import Arithmetic

MISJUDGED = 0.05
"""By what part declared operations may differ from counted ones."""
_CLASSES, _IMAGES = 10, 4
_SHAPES: dict[int, tuple[ImageShape, str]] = {1: ((1, 8, 8), "digits"), 3: ((3, 32, 32), "cifar10")}
"""By channels, images of a data set of the catalogue."""
_APART = 1e-3
"""How far logits may be from others, relative to the largest, before it is more than rounding."""


def check_architecture(extension: Extension) -> Report:
    """Build a network for images of each number of channels that it takes, and try it."""
    report, taken = extension.report(), ARCHITECTURES[extension.name].channels
    report.facts.append(ARCHITECTURES[extension.name].title)
    code = Code(extension.files)
    with undisturbed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of torch, about what is tried here.
        for channels in _SHAPES if taken is None else (taken,):
            check = _Check(extension, channels, report, code)
            try:
                check.run()
            except Exception as error:  # Whatever the author's code raises.
                report.wrong("fails", f"{check.where}: {code.explain(error)}")
                break
    return report


@dataclass
class _Check:
    """A network for images of some channels."""

    extension: Extension
    channels: int
    report: Report
    code: Code

    def __post_init__(self) -> None:
        self.shape, self.dataset = _SHAPES.get(self.channels, ((self.channels, 32, 32), ""))
        self.where = " × ".join(map(str, self.shape))
        draws = torch.Generator().manual_seed(0)
        images = torch.rand((_IMAGES, *self.shape), generator=draws)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(_IMAGES) % _CLASSES

    def run(self) -> None:
        """All that is checked; raises what the network raises."""
        draws, waits = Draws(self.code), Waits(self.code)
        model = self._check_building(draws)
        self.report.facts.append(_describe(self.where, model, self.images))
        if not self._check_logits(model):
            return
        with draws, waits:
            self._check_training(model, "fp32")
        self._tell(draws, waits)
        self._check_state(model)
        try:
            self._check_training(self._build(), "bf16")
        except Exception as error:  # Whatever the network does.
            self.report.wrong("precision", f"{self.where}: bf16: {self.code.explain(error)}")
        if self.dataset:
            _check_operations(self.extension.name, self.where, self.dataset, self.report)
        self.report.passed.append(f"trains in fp32 and bf16 on {self.where}")

    def _build(self, seed: int = 0) -> nn.Module:
        size = min(self.shape[1:])
        return build_model(self.extension.name, self.channels, _CLASSES, seed, image_size=size)

    def _check_building(self, draws: Draws) -> nn.Module:
        """Weights are a function of the seed."""
        seed_generators("once")
        with draws:
            model = self._build()
        draws.found = {key: "" for key in draws.found if key[0] != "torch"}  # It is set.
        seed_generators("again")
        again, other = self._build().state_dict(), self._build(seed=1).state_dict()
        weights = model.state_dict()
        if any(not torch.equal(tensor, again[name]) for name, tensor in weights.items()):
            if not draws.found:
                self.report.wrong(
                    "not-repeatable", "two networks of one seed have other weights, whatever draws"
                )
        elif all(torch.equal(tensor, other[name]) for name, tensor in weights.items()):
            self.report.hint("not-repeatable", "networks of two seeds have the same weights")
        return model

    def _check_logits(self, model: nn.Module) -> bool:
        """Shape, values, gradients to the images, and that images do not see one another."""
        model.eval()
        leaf = self.images.clone().requires_grad_()
        logits: Any = model(leaf)
        expected = (_IMAGES, _CLASSES)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            self.report.wrong("logits", f"{self.where}: returns {found}; must be logits {expected}")
            return False
        if not logits.isfinite().all():
            self.report.wrong("logits", f"{self.where}: its logits are not finite")
            return False
        self._check_gradient(logits, leaf)
        with torch.no_grad():
            if not torch.equal(model(self.images), model(self.images)):
                self.report.wrong(
                    "not-repeatable",
                    f"{self.where}: in evaluation mode the logits of the same images differ; what "
                    f"is drawn in training must not be drawn there",
                )
                return False
            alone = torch.cat([model(image[None]) for image in self.images])
        if (alone - logits).abs().max() > _APART * logits.abs().max():
            self.report.wrong(
                "batch",
                f"{self.where}: in evaluation mode the logits of an image depend on the others of "
                f"its batch",
            )
        return True

    def _check_gradient(self, logits: Tensor, leaf: Tensor) -> None:
        text = "no gradient reaches the images, which attacks need"
        if not logits.requires_grad:
            self.report.wrong("gradient", f"{self.where}: {text}")
            return
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf, allow_unused=True)
        if gradient is None or not gradient.any():
            self.report.wrong("gradient", f"{self.where}: {text}")
        elif not gradient.isfinite().all():
            self.report.wrong("gradient", f"{self.where}: the images' gradient is not finite")

    def _check_training(self, model: nn.Module, arithmetic: Arithmetic) -> None:
        """One step of gradient descent."""
        model.train()
        logits = compute_logits(model, self.images, arithmetic)
        torch.autograd.backward(functional.cross_entropy(logits, self.labels))
        without = []
        for name, parameter in model.named_parameters():
            if parameter.grad is None:
                without.append(name)
                continue
            if not parameter.grad.isfinite().all():
                self.report.wrong(
                    "precision", f"{self.where}: {arithmetic}: the gradient of {name} is not finite"
                )
                return
            with torch.no_grad():
                parameter.sub_(0.01 * parameter.grad)
        if without:
            some = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
            self.report.hint("gradient", f"{len(without)} parameters get no gradient: {some}")

    def _tell(self, draws: Draws, waits: Waits) -> None:
        if any(generator == "torch" for generator, _ in draws.found):
            # As dropout does: a function of seed, epoch and step.
            self.report.facts.append(f"{self.where}: draws in training, the same when resumed")
        for generator, at in draws.found:
            if generator != "torch":
                where = "in building or forwarding it" if at is None else str(at)
                self.report.wrong(
                    "draws",
                    f"{where}: draws from {GENERATORS[generator]}, which a resumed training finds "
                    f"elsewhere; torch's are set in every step",
                )
        for place, what in waits.found.items():
            self.report.wrong("waits", f"{place}: {what} makes a GPU wait in every forward")

    def _check_state(self, model: nn.Module) -> None:
        """A fresh network with the parameters and buffers of a trained one is the same."""
        fresh = self._build()
        loose = changed(_loose(fresh), _loose(model))
        if loose:
            self.report.wrong(
                "buffers",
                f"{', '.join(loose)} changed in a step and is neither a parameter nor a buffer: "
                f"it is not saved; register_buffer does",
            )
            return
        tensors = [path for path, value in _loose(model).items() if isinstance(value, Tensor)]
        if tensors:
            self.report.wrong(
                "buffers",
                f"{', '.join(tensors)} is a tensor and neither a parameter nor a buffer: it stays "
                f"on the CPU; register_buffer(..., persistent=False) for constants",
            )
            return
        fresh.load_state_dict(model.state_dict())
        with torch.no_grad():
            expected, found = model.eval()(self.images), fresh.eval()(self.images)
        if not torch.equal(expected, found):
            self.report.wrong(
                "buffers",
                f"{self.where}: a network with the saved weights has other logits: something that "
                f"changes is in no state_dict, a buffer with persistent=False perhaps",
            )


def _describe(where: str, model: nn.Module, images: Tensor) -> str:
    """What of it matters to attacks."""
    norms, folded = len(tracked_norms(model)), fold(model.eval(), images)
    model.train()
    how = "nothing to fold"
    if folded is not None:
        how = f"{folded.folded} of them folded where it is attacked"
    elif norms:
        how = "attacked as it is, which is slower and right"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{where}: {parameters:,} parameters, {norms or 'no'} BatchNorm, {how}"


def _check_operations(name: str, where: str, dataset: str, report: Report) -> None:
    """Declared operations against counted ones, on images of a data set."""
    declared, info = ARCHITECTURES[name].operations, DATA_SETS[dataset]
    counted = count_operations(name, dataset)
    text = f"{where}: {counted.forward / 1e6:.4g} MFLOP a forward counted"
    if declared is None:
        report.facts.append(f"{text}, none declared: the first training counts them")
        return
    told = declared(info.image_shape, info.classes)
    ratio = told.forward / counted.forward - 1 if counted.forward else 0.0
    report.facts.append(f"{text}, {told.forward / 1e6:.4g} declared ({ratio:+.0%})")
    if abs(ratio) > MISJUDGED:
        report.wrong(
            "operations",
            f"{where}: operations is {ratio:+.0%} off the {counted.forward:.4g} FLOP that torch "
            f"counts; leave it out to have them counted",
        )


def _loose(model: nn.Module) -> Held:
    """What the modules hold beside parameters, buffers, modules, hooks and their mode."""
    usual = [*vars(nn.Module()), "training"]
    found: Held = {}
    for name, module in model.named_modules():
        found.update(held_by(module, ".".join(filter(None, ["self", name])), usual))
    return found
