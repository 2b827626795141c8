"""BatchNorm of evaluation mode folded into the convolutions before it, in a copy of a model."""

from __future__ import annotations

import copy
import gc
import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from raat_core.fast.arithmetic import in_arithmetic
from raat_core.fast.cpu.winograd import WinogradConv2d
from raat_core.models.modes import in_mode

AGREEMENT = 1e-3
"""How far a copy's logits may be from the model's, relative to the largest of them. Rounding alone
makes about 1e-6, in fp32; a model that was not understood is off by its whole size."""


class FoldedModel:
    """A copy of a model in evaluation mode, for forwards that ask for no gradients of weights.

    After a convolution, evaluation-mode BatchNorm is one factor and one summand for each of its
    channels, which go into the convolution's weight and bias. The copy's tensors stay the same
    ones: `refresh` writes into them, so that what was recorded with them stays valid.
    """

    def __init__(
        self,
        model: nn.Module,
        traced: fx.GraphModule,
        dtype: torch.dtype | None = None,
        *,
        winograd: bool = False,
    ) -> None:
        """Copy `model` as it is now.

        The model itself is not held: a copy may be kept as long as its model is.

        Args:
            model: every BatchNorm2d that alone follows a convolution is folded; others stay.
            traced: what `trace` made of it.
            dtype: of the copy's convolutions and linear layers; without, as the model's.
            winograd: whether convolutions that `WinogradConv2d` is quicker for become that.
        """
        pairs = _foldable(traced)
        self.module: nn.Module = _without_norms(traced, pairs)
        if dtype is not None:
            _cast(self.module, dtype)
        self._winograd = _with_winograd(self.module) if winograd else []
        self._tensors = tuple(_tensors_of(model).values())
        self._folds = [_fold_of(pair, model, self.module) for pair in pairs]
        self._copied = _unfolded(model, self.module, pairs)
        self.refresh()

    @property
    def folded(self) -> int:
        """How many BatchNorms are folded."""
        return len(self._folds)

    def is_of(self, model: nn.Module) -> bool:
        """Whether the model still consists of the tensors that the copy follows."""
        tensors = _tensors_of(model).values()
        return len(tensors) == len(self._tensors) and all(map(operator.is_, tensors, self._tensors))

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the copy equal to the model as it is now, whose tensors were changed in place."""
        self.rest()
        if self._copied:
            its, mine = zip(*self._copied, strict=True)
            torch._foreach_copy_(mine, its)
        if not self._folds:
            return
        scales = torch._foreach_add(
            [fold.variance for fold in self._folds], [fold.norm.eps for fold in self._folds]
        )
        torch._foreach_rsqrt_(scales)
        torch._foreach_mul_(scales, [fold.norm.weight for fold in self._folds])
        shifts = torch._foreach_mul([fold.mean for fold in self._folds], scales)
        torch._foreach_neg_(shifts)
        torch._foreach_add_(shifts, [fold.norm.bias for fold in self._folds])
        for fold, scale, shift in zip(self._folds, scales, shifts, strict=True):
            if fold.convolution.bias is not None:
                shift += fold.convolution.bias * scale
        weights = [
            fold.convolution.weight * scale[:, None, None, None]
            for fold, scale in zip(self._folds, scales, strict=True)
        ]
        torch._foreach_copy_([fold.weight for fold in self._folds], weights)
        torch._foreach_copy_([fold.bias for fold in self._folds], shifts)

    def rest(self) -> None:
        """Hold no more than the model's tensors until the next use."""
        for convolution in self._winograd:
            convolution.forget()


def fold(
    model: nn.Module,
    images: Tensor,
    dtype: torch.dtype | None = None,
    *,
    winograd: bool = False,
) -> FoldedModel | None:
    """A copy that was found to be right; None if the model cannot be traced, or not rightly.

    Tracing reads a model's code with a stand-in for the images; what depends on more than
    operations on them, or on modules that share weights, may be read wrongly. So a model like this
    one, with other weights and statistics, is compared with its own copy first.

    Args:
        model: which.
        images: some that it takes, (N, C, H, W); only their shape, dtype and device matter.
        dtype: as for `FoldedModel`.
        winograd: the same.
    """
    try:
        copied = FoldedModel(model, trace(model), dtype, winograd=winograd)
        if copied.folded == 0 or not _is_folded_rightly(model, images):
            return None
    except Exception:  # Tracing runs the model's own code, which may do anything with a stand-in.
        return None
    finally:
        gc.collect()  # A trace and its operations hold one another, and with them two models.
    return copied


def trace(model: nn.Module) -> fx.GraphModule:
    """The operations of the model in evaluation mode, its modules among them.

    Raises:
        Exception: whatever comes of a model that does more than operations on its images.
    """
    with in_mode(model, training=False):
        return fx.symbolic_trace(model)


@torch.no_grad()
def _is_folded_rightly(model: nn.Module, images: Tensor) -> bool:
    """Whether a model of other weights has the logits of its folded copy, but for rounding.

    Of other weights, because a fresh model's norms change next to nothing: whether they are folded
    rightly would not show. The outcome is a function of the model's architecture alone.
    """
    trial = copy.deepcopy(model).eval()
    draws = torch.Generator().manual_seed(0)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=draws).to(like.device, like.dtype)

    for parameter in trial.parameters():
        spread = float(parameter.std(correction=0))
        parameter.add_((0.3 * spread if spread > 0 else 0.05) * normal(parameter))
    for module in trial.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.mul_(normal(module.running_var).mul_(0.3).exp_())
            assert module.running_mean is not None
            module.running_mean.add_(0.3 * normal(module.running_mean))
            if module.affine:
                module.weight.add_(0.3 * normal(module.weight))
                module.bias.add_(0.3 * normal(module.bias))
    examples = torch.rand((2, *images.shape[1:]), generator=draws)
    examples = examples.to(images.device, images.dtype)
    with in_arithmetic("fp32"), torch.autocast(images.device.type, enabled=False):
        expected = trial(examples)
        found = FoldedModel(trial, trace(trial)).module(examples)
    if found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= AGREEMENT * expected.abs().max())


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all of their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _unfolded(
    model: nn.Module, copied: nn.Module, pairs: list[_Pair]
) -> list[tuple[Tensor, Tensor]]:
    """What is copied as it is: the model's tensor and the copy's.

    Tensors of the copy that the model has not are constants of its code.
    """
    folded = {f"{pair.convolution}.{name}" for pair in pairs for name in ("weight", "bias")}
    its = _tensors_of(model)
    mine = _tensors_of(copied).items()
    return [(its[name], tensor) for name, tensor in mine if name in its and name not in folded]


@dataclass(frozen=True)
class _Pair:
    """A convolution and the BatchNorm behind it, by name."""

    convolution: str
    norm: str


@dataclass(frozen=True)
class _Fold:
    """Where a folded weight and bias come from, and where they go."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    mean: Tensor
    """The norm's, (C,)."""
    variance: Tensor
    weight: Tensor
    """The copy's, (C, inputs, k, k)."""
    bias: Tensor


def _fold_of(pair: _Pair, model: nn.Module, copied: nn.Module) -> _Fold:
    convolution, norm = model.get_submodule(pair.convolution), model.get_submodule(pair.norm)
    folded = copied.get_submodule(pair.convolution)
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(folded, nn.Conv2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert folded.bias is not None
    return _Fold(convolution, norm, norm.running_mean, norm.running_var, folded.weight, folded.bias)


def _foldable(traced: fx.GraphModule) -> list[_Pair]:
    """Convolutions whose only use is a BatchNorm with running statistics, each called once."""
    modules = dict(traced.named_modules())
    called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    pairs = []
    for node in traced.graph.nodes:
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            continue
        before = node.args[0]
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        pair = _Pair(str(before.target), str(node.target))
        once = called.count(pair.convolution) == called.count(pair.norm) == 1
        if once and len(before.users) == 1 and _fit(modules[pair.convolution], modules[pair.norm]):
            pairs.append(pair)
    return pairs


def _fit(convolution: nn.Module, norm: nn.Module) -> bool:
    return (
        type(convolution) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.running_var is not None
    )


def _without_norms(traced: fx.GraphModule, pairs: list[_Pair]) -> fx.GraphModule:
    """A copy of its own, in evaluation mode, its parameters frozen, without the pairs' norms."""
    folded = copy.deepcopy(traced)
    norms = {pair.norm for pair in pairs}
    for node in list(folded.graph.nodes):
        if node.op == "call_module" and node.target in norms:
            node.replace_all_uses_with(node.args[0])
            folded.graph.erase_node(node)
    for pair in pairs:
        convolution = folded.get_submodule(pair.convolution)
        assert isinstance(convolution, nn.Conv2d)
        if convolution.bias is None:
            bias = convolution.weight.new_zeros(convolution.out_channels)
            convolution.bias = nn.Parameter(bias)
        folded.delete_submodule(pair.norm)
    folded.recompile()
    return folded.eval().requires_grad_(False)


def _with_winograd(model: nn.Module) -> list[WinogradConv2d]:
    """Exchange the convolutions that it takes; returns what took their place."""
    taken = [name for name, module in model.named_modules() if WinogradConv2d.can_take(module)]
    placed = []
    for name in taken:
        convolution = model.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        placed.append(WinogradConv2d(convolution))
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, placed[-1])
    return placed


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
