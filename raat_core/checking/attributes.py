"""What objects and modules of Python hold, and what of it changed."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from raat_core.interface.facts import CellFacts
from raat_core.training.step import TrainingStep

Held: TypeAlias = dict[str, Any]
"""Copies of numbers, text and tensors by path: `self.memory['mean'][0]`."""

_DEEPEST = 6
_NOT_STATE = (BaseModel, CellFacts, TrainingStep, type, torch.dtype, torch.device)
"""Facts and code, not state."""


def held_by(thing: object, name: str = "self", leave_out: Iterable[str] = ()) -> Held:
    """Copies of all that an object holds in its attributes.

    Args:
        thing: which.
        name: what stands for it in paths.
        leave_out: attributes that are not looked at.
    """
    found: Held = {}
    left = set(leave_out)
    for key, value in vars(thing).items():
        if key not in left:
            found.update(_flat(value, f"{name}.{key}", {id(thing)}, 0))
    return found


def held_by_modules(modules: Iterable[str]) -> Held:
    """Copies of what plugins hold outside of their objects: globals, and attributes of classes."""
    found: Held = {}
    for module in modules:
        loaded = sys.modules.get(module)
        for key, value in list(vars(loaded).items()) if loaded else ():
            if key.startswith("__"):
                continue
            if isinstance(value, type) and value.__module__ == module:
                for inner, attribute in list(vars(value).items()):
                    if not inner.startswith(("_", "model_")):
                        found.update(_flat(attribute, f"{key}.{inner}", set(), 0))
            else:
                found.update(_flat(value, key, set(), 0))
    return found


def changed(before: Held, after: Held) -> list[str]:
    """Paths of what differs, or is in one of them alone."""
    paths = dict.fromkeys([*before, *after])
    missing = object()
    return [
        path for path in paths if not _same(before.get(path, missing), after.get(path, missing))
    ]


def changed_values(before: Held, after: Held) -> list[str]:
    """Paths that were there before and differ: what is only added may be a cache."""
    return [path for path in changed(before, after) if path in before]


def lost(before: Held, after: Held) -> list[str]:
    """What was held and is not any more, under no path at all."""
    kept = list(after.values())
    return [
        path
        for path in changed(before, after)
        if not (isinstance(before.get(path), Tensor) and _is_among(before[path], kept))
    ]


def attributes_of(paths: Iterable[str]) -> list[str]:
    """Of paths, the attributes that they begin with: `self.memory` of `self.memory[0]`."""
    return list(dict.fromkeys(".".join(path.split("[")[0].split(".")[:2]) for path in paths))


def describe(held: Held, attribute: str) -> str:
    """What an attribute holds, in words."""
    values = [
        value
        for path, value in held.items()
        if path == attribute or path.startswith((f"{attribute}[", f"{attribute}."))
    ]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(values) == 1 and tensors:
        return f"a tensor {tuple(tensors[0].shape)}"
    if tensors:
        return f"{len(tensors)} tensors"
    return f"{values[0]!r:.40}" if len(values) == 1 else "nothing" if not values else "values"


def _is_among(value: Tensor, others: Iterable[Any]) -> bool:
    return any(_same(value, other) for other in others)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return same and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return type(one) is type(other) and (one == other or one != one)


def _flat(value: Any, path: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    """The values below one, by path."""
    if isinstance(value, Tensor):
        yield path, value.detach().clone()
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield path, value
    elif isinstance(value, np.ndarray):
        yield path, value.tobytes()
    elif isinstance(value, torch.Generator):
        yield path, value.get_state().clone()
    elif isinstance(value, np.random.Generator):
        yield path, repr(value.bit_generator.state)
    elif isinstance(value, random.Random):
        yield path, repr(value.getstate())
    elif isinstance(value, nn.Module):
        for name, tensor in (*value.named_parameters(), *value.named_buffers()):
            yield f"{path}.{name}", tensor.detach().clone()
    elif not isinstance(value, _NOT_STATE) and depth < _DEEPEST and id(value) not in seen:
        for key, inner in _inner(value):
            yield from _flat(inner, f"{path}{key}", seen | {id(value)}, depth + 1)


def _inner(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container or an object consists of."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", inner) for key, inner in list(value.items()))
    elif isinstance(value, (list, tuple)) or type(value).__name__ == "deque":
        yield "[length]", len(value)
        yield from ((f"[{number}]", inner) for number, inner in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield "[elements]", repr(sorted(map(repr, value)))
    elif isinstance(value, torch.optim.Optimizer):
        yield ".state", value.state_dict()["state"]
    elif hasattr(value, "__dict__") and not callable(value):
        is_ours = type(value).__module__.startswith("raat_core.interface.operations")
        if not is_ours and not type(value).__module__.startswith(("builtins", "typing")):
            yield from ((f".{key}", inner) for key, inner in list(vars(value).items()))
