"""Weights that another program wrote: reading a file of them, and finding names in it.

Nothing of a file is run: torch's are read by its `weights_only` reader, which knows tensors and
plain data and refuses all else, and safetensors hold nothing else.
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import safe_globals

from raat_core.errors import UserError
from raat_core.validation import one_line, suggest

Named: TypeAlias = Mapping[str, Tensor]
_OBJECTS = re.compile(r"GLOBAL|Unsupported (global|class)|[Tt]rying to (call|instantiate)")
"""In what torch says of a file that holds more than tensors and plain data."""
_NUMBER: Any = np.float64(0).__reduce__()[0]  # Its module has had two names.
_PLAIN: list[Any] = [
    argparse.Namespace,
    SimpleNamespace,
    np.dtype,
    (_NUMBER, "numpy.core.multiarray.scalar"),
    (_NUMBER, "numpy._core.multiarray.scalar"),
    *{type(np.dtype(name)) for name in ("bool", "int32", "int64", "float16", "float32", "float64")},
]
"""Plain data beside weights in many checkpoints, which torch's reader would refuse: a training's
arguments, and numbers of NumPy. Making them runs no code of the file's."""
DEEPEST = 3
"""Mappings within one another that weights are looked for in."""


@dataclass(frozen=True)
class Candidate:
    """Tensors by name that a file has somewhere."""

    key: str
    """Where, with dots between keys; empty for the file itself."""
    tensors: Named


def read_tensors(path: Path, content: bytes) -> object:
    """What a file holds: plain data and tensors, on the CPU.

    Args:
        path: of the file, for messages.
        content: all its bytes.

    Raises:
        UserError: it is neither torch's nor a safetensors file, is damaged, or holds objects that
            only running their code would bring back.
    """
    if content[:2] != b"PK" and content[8:9] == b"{":
        try:
            return safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            raise UserError(one_line(f"{path} is no whole safetensors file: {error}")) from None
    if _is_torchscript(content):
        raise UserError(
            f"{path} is a TorchScript program, not weights; save its state_dict: "
            f"torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    try:
        with safe_globals(_PLAIN):
            found: object = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return found
    except Exception as error:  # Whatever its reader meets in bytes that are none of its own.
        if isinstance(error, pickle.UnpicklingError) and _OBJECTS.search(str(error)):
            raise UserError(_not_weights_only(path, str(error))) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            one_line(f"{path} is no whole file of torch.save nor of safetensors: {reason}")
        ) from None


def _is_torchscript(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _not_weights_only(path: Path, reason: str) -> str:
    """Of a file that holds objects; torch says of which class, among much advice."""
    named = re.search(r"GLOBAL (\S+)", reason)
    what = f" ({named.group(1)})" if named else ""
    return one_line(
        f"{path} holds objects beside tensors{what}; it is not loaded, because that would run code "
        f"from the file; in the program that made it, save the weights alone: "
        f"torch.save(model.state_dict(), FILE)"
    )


def candidates(loaded: object, key: str | None, path: Path) -> list[Candidate]:
    """Where in a file's content weights may be; one place at least.

    Args:
        loaded: what `read_tensors` returned.
        key: the place, with dots between keys, if it is known.
        path: of the file, for messages.

    Raises:
        UserError: there are no tensors by name, or none under this key.
    """
    found = list(_candidates(loaded, "", DEEPEST))
    if key is None:
        if not found:
            raise UserError(f"{path} holds no mapping of names to tensors ({_describe(loaded)})")
        return found
    chosen = [one for one in found if f"{one.key}.".startswith(f"{key}.")]
    if not chosen:
        places = [one.key for one in found if one.key]
        raise UserError(f"key = '{key}': {path} has no weights there{suggest(key, places)}")
    return chosen


def _candidates(loaded: object, key: str, depth: int) -> Iterator[Candidate]:
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        return
    tensors = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in loaded.items() if name not in tensors}
    # A state_dict is all tensors; a checkpoint may have one beside it, of the loss for example.
    if tensors and not any(isinstance(value, Mapping) for value in others.values()):
        yield Candidate(key, tensors)
    elif depth > 0:
        for name, value in others.items():
            yield from _candidates(value, f"{key}.{name}" if key else name, depth - 1)


def _describe(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"its keys: {', '.join(map(str, list(loaded)[:8]))}"
    return f"it is a {type(loaded).__name__}"
