"""A network with its weights as the bytes of a file that others read."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from raat_core.errors import UserError

ONNX_PACKAGES = ("onnx", "onnxscript")
"""What torch writes ONNX with."""
INPUT, OUTPUT = "images", "logits"
"""Names in an ONNX graph."""


def state_dict_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """A file for `torch.load(..., weights_only=True)`: tensors by name."""
    file = io.BytesIO()
    torch.save({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    return file.getvalue()


def program_bytes(model: nn.Module, images: Tensor) -> bytes:
    """A file for `torch.export.load`: see `_program`."""
    file = io.BytesIO()
    torch.export.save(_program(model, images), file)
    return file.getvalue()


def onnx_bytes(model: nn.Module, images: Tensor) -> bytes:
    """An ONNX graph with its weights, from `images` (N, C, H, W) to `logits` (N, K), N any.

    Raises:
        UserError: packages that this needs are not installed, or the network cannot be traced.
    """
    require_onnx()
    program = _program(model, images)
    with _quietly():
        graph = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: Dim("batch")},),
        )
    assert graph is not None, "dynamo=True returns it"
    written: bytes = graph.model_proto.SerializeToString()
    return written


def require_onnx() -> None:
    """Refuse where a package is missing that writes ONNX.

    Raises:
        UserError: says which, and how to have them.
    """
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"form = onnx: needs {' and '.join(missing)}, not installed here: "
            f"pip install {' '.join(missing)} onnxruntime"
        )


def _program(model: nn.Module, images: Tensor) -> ExportedProgram:
    """The computation from images (N, C, H, W) to logits, with N open, and its weights.

    Args:
        model: in evaluation mode.
        images: two or more, as an example: torch takes a 1 for a constant.

    Raises:
        UserError: torch cannot trace the network.
    """
    try:
        with _quietly():
            program = torch.export.export(
                model, (images,), dynamic_shapes=({0: Dim("batch")},), strict=False
            )
    except Exception as error:  # Whatever a network of somebody's own does.
        reason = str(error).strip().splitlines()
        raise UserError(
            f"torch.export cannot trace this network: {type(error).__name__}: "
            f"{reason[0] if reason else ''}"
        ) from error
    for node in program.graph.nodes:  # Where files of this machine lie is nobody's business.
        node.meta.pop("stack_trace", None)
    return program


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch says of its own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
