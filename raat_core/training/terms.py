"""What a method returned, looked at before torch does: its author reads one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from raat_core.errors import UserError

_EXPECTED = "must return its terms by name, scalar tensors: {'supervised': losses.mean(), ...}"


def require_terms(method: str, terms: Any) -> dict[str, Tensor]:
    """The terms of a loss, found to be what `Method.loss` says; the device is not waited for.

    Raises:
        UserError: names the method, what it returned, and what is expected.
    """

    def refused(found: str) -> UserError:
        return UserError(f"method '{method}': loss {_EXPECTED}; it returned {found}")

    if not isinstance(terms, Mapping):
        raise refused(_in_words(terms))
    if not terms:
        raise refused("no terms")
    for name, term in terms.items():
        if not isinstance(name, str):
            raise refused(f"a term whose name is {name!r}")
        if not isinstance(term, Tensor) or term.dim() > 0 or not term.is_floating_point():
            raise refused(f"'{name}': {_in_words(term)}")
    if not any(term.requires_grad for term in terms.values()):
        raise refused(f"{list(terms)} without a gradient; logits of step.forward have one")
    return dict(terms)


def require_state(method: str, state: Any) -> dict[str, Tensor]:
    """What `state` returned, found to be what is saved.

    Raises:
        UserError: names the method, what it returned, and what is expected.
    """
    if not isinstance(state, Mapping):
        raise UserError(
            f"method '{method}': state() must return tensors by name, not {_in_words(state)}"
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(
                f"method '{method}': state() must return tensors by name; {name!r} is "
                f"{_in_words(value)}: torch.tensor(...) for a number"
            )
    return dict(state)


def _in_words(value: object) -> str:
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"a {kind} tensor of shape {tuple(value.shape)}"
    return f"{value!r:.60} ({type(value).__name__})"
