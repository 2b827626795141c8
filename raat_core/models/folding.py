"""BatchNorm of evaluation mode folded into the convolutions before it, in a copy of a model."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from raat_core.models.build import in_mode

AGREEMENT = 1e-3
"""How far a copy's logits may be from the model's, relative to the largest of them. Rounding alone
makes about 1e-6; a model that was not understood is off by its whole size."""


class FoldedModel:
    """A copy of a model in evaluation mode, for forwards that ask for no gradients of weights.

    After a convolution, evaluation-mode BatchNorm is one factor and one summand for each of its
    channels, which go into the convolution's weight and bias. The copy's tensors stay the same
    ones: `refresh` writes into them, so that what was recorded with them stays valid.
    """

    def __init__(
        self, model: nn.Module, traced: fx.GraphModule, dtype: torch.dtype | None = None
    ) -> None:
        """Copy `model` as it is now.

        Args:
            model: every BatchNorm2d that alone follows a convolution is folded; others stay.
            traced: what `trace` made of it.
            dtype: of the copy's convolutions and linear layers; without, as the model's.
        """
        pairs = _foldable(traced)
        self.module: nn.Module = _without_norms(traced, pairs)
        if dtype is not None:
            _cast(self.module, dtype)
        self._source = model
        self._folds = [_fold_of(pair, model, self.module) for pair in pairs]
        self._copied = self._unfolded_tensors(pairs)
        self.refresh()

    @property
    def folded(self) -> int:
        """How many BatchNorms are folded."""
        return len(self._folds)

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the copy equal to the model as it is now."""
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

    @torch.no_grad()
    def agrees(self, images: Tensor) -> bool:
        """Whether the copy's logits are those of the model in evaluation mode, but for rounding.

        Tracing reads a model's code with a stand-in for the images; what depends on more than
        operations on them may be read wrongly.
        """
        with in_mode(self._source, training=False):
            expected = self._source(images)
        found = self.module(images)
        if found.shape != expected.shape:
            return False
        largest = expected.abs().max()
        return bool((found - expected).abs().max() <= AGREEMENT * largest.clamp(min=1e-6))

    def _unfolded_tensors(self, pairs: list[_Pair]) -> list[tuple[Tensor, Tensor]]:
        """What is copied as it is: the model's tensor and the copy's."""
        folded = {f"{pair.convolution}.{name}" for pair in pairs for name in ("weight", "bias")}
        mine = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        its = {**dict(self._source.named_parameters()), **dict(self._source.named_buffers())}
        return [(its[name], tensor) for name, tensor in mine.items() if name not in folded]


def fold(model: nn.Module, images: Tensor, dtype: torch.dtype | None = None) -> FoldedModel | None:
    """A copy of the model whose logits of `images` were found to be the model's.

    None if the model cannot be traced, has nothing to fold, or its copy has other logits.

    Args:
        model: which.
        images: a few that it takes, (N, C, H, W).
        dtype: as for `FoldedModel`.
    """
    try:
        traced = trace(model)
    except Exception:  # Tracing runs the model's own code, which may do anything with a stand-in.
        return None
    copied = FoldedModel(model, traced)
    if copied.folded == 0 or not copied.agrees(images):
        return None
    return copied if dtype is None else FoldedModel(model, traced, dtype)


def trace(model: nn.Module) -> fx.GraphModule:
    """The operations of the model in evaluation mode, its modules among them.

    Raises:
        Exception: whatever comes of a model that does more than operations on its images.
    """
    with in_mode(model, training=False):
        return fx.symbolic_trace(model)


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


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
