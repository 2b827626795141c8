"""Forwards in the arithmetic that a cell's precision names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from raat_core.specs.precision import Arithmetic


def use_ieee_arithmetic() -> None:
    """Make fp32 IEEE single precision in this process.

    By default torch rounds the inputs of convolutions on GPUs to TF32's ten bits.
    """
    torch.set_float32_matmul_precision("highest")
    _allow_tf32(False, False)


@contextmanager
def in_arithmetic(arithmetic: Arithmetic) -> Iterator[None]:
    """Inside the block float32 means what `arithmetic` says, in forwards and backwards."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    _allow_tf32(*(arithmetic == "tf32",) * 2)
    try:
        yield
    finally:
        _allow_tf32(*before)


def compute_logits(
    model: Callable[[Tensor], Tensor], images: Tensor, arithmetic: Arithmetic
) -> Tensor:
    """Logits (N, K) of images (N, C, H, W), in the dtype of the images whatever the arithmetic."""
    if arithmetic != "bf16":
        return model(images)
    with torch.autocast(images.device.type, torch.bfloat16):
        logits = model(images)
    return logits.to(images.dtype)


def _allow_tf32(convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products
