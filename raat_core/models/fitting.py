"""From names that another program gave its weights to those of an architecture, strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn

from raat_core.errors import UserError
from raat_core.methods.given import GivenSettings
from raat_core.models.foreign import Candidate
from raat_core.models.network import INNER, Normalised
from raat_core.validation import one_line

WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.")
"""What data parallelism, compilation, averaging and training frameworks put before all names."""
OF_WRAPPERS = ("n_averaged",)
"""What `torch.optim.swa_utils.AveragedModel` has beside the weights."""
COUNTER = ".num_batches_tracked"
"""Of BatchNorm; nothing in evaluation follows it, and old files have none."""
MOST_LISTED = 6


@dataclass(frozen=True)
class Fitted:
    """An architecture's weights, all of them, from a place in a file."""

    key: str
    prefix: str
    """What was taken off the names, or (after a `+`) put before them."""
    tensors: Mapping[str, Tensor]
    """By the model's names, in the dtypes of the model."""
    dtypes: Sequence[str]
    """Of the file's tensors."""
    kept: Sequence[str]
    """Names that the file does not have, as the architecture makes them."""
    ignored: Sequence[str]
    """Names of the file that were left out, because the settings say so."""


def fit(
    model: nn.Module, found: Sequence[Candidate], settings: GivenSettings, path: Path
) -> Fitted:
    """The weights of a model, from the one place in a file where they fit.

    Args:
        model: of the architecture.
        found: places where the file has tensors.
        settings: what is renamed, left out and kept.
        path: of the file, for messages.

    Raises:
        UserError: nothing fits: lists what is missing, unexpected and of another shape; or several
            places do.
    """
    attempts = [_best_attempt(model, one, settings) for one in found]
    fitting = [one for one in attempts if not one.misfits]
    if len(fitting) == 1:
        return fitting[0].fitted
    if len(fitting) > 1:
        places = ", ".join(f"'{one.fitted.key}'" for one in fitting)
        raise UserError(f"{path} has weights that fit under several keys: {places}; say which: key")
    nearest = min(attempts, key=lambda one: one.misfits)
    where = f" under '{nearest.fitted.key}'" if nearest.fitted.key else ""
    raise UserError(
        one_line(f"{path}: the weights{where} are not those of the architecture: {nearest.said}")
    )


@dataclass(frozen=True)
class _Attempt:
    fitted: Fitted
    misfits: int
    said: str


def _best_attempt(model: nn.Module, one: Candidate, settings: GivenSettings) -> _Attempt:
    """With what fits best of prefixes that all names have, or that none has."""
    own = model.network if isinstance(model, Normalised) else model
    expected = own.state_dict()
    attempts = (
        _attempt(expected, one, names, prefix, settings)
        for prefix, names in _unwrapped(one.tensors)
    )
    best = min(attempts, key=lambda attempt: attempt.misfits)
    if own is model:
        return best
    inner = {f"{INNER}{name}": tensor for name, tensor in best.fitted.tensors.items()}
    return replace(best, fitted=replace(best.fitted, tensors=inner))


def _unwrapped(tensors: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    """The tensors under their names, and under those without prefixes of wrappers or with one."""
    names = dict(tensors)
    found = [("", names)]
    prefix = ""
    while True:
        inner = {name: tensor for name, tensor in names.items() if name not in OF_WRAPPERS}
        shared = [w for w in WRAPPERS if inner and all(name.startswith(w) for name in inner)]
        if not shared:
            break
        names = {name.removeprefix(shared[0]): tensor for name, tensor in inner.items()}
        prefix += shared[0]
        found.append((prefix, names))
    added = [
        (f"{prefix}+{wrapper}", {f"{wrapper}{name}": tensor for name, tensor in names.items()})
        for wrapper in WRAPPERS
    ]
    return [*found, *added]


def _attempt(
    expected: Mapping[str, Tensor],
    one: Candidate,
    names: Mapping[str, Tensor],
    prefix: str,
    settings: GivenSettings,
) -> _Attempt:
    renamed = {_renamed(name, settings.rename): tensor for name, tensor in names.items()}
    ignored = [name for name in renamed if _matches(name, settings.ignore)]
    given = {name: tensor for name, tensor in renamed.items() if name not in ignored}
    kept = [
        name
        for name in expected
        if name not in given and (name.endswith(COUNTER) or _matches(name, settings.optional))
    ]
    said, misfits = _misfits(expected, given, kept)
    if len(renamed) < len(names):
        said.append("rename: gives two tensors one name")
        misfits += len(names) - len(renamed)
    fitted = Fitted(
        key=one.key,
        prefix=prefix,
        tensors={} if misfits else _converted(expected, given),
        dtypes=sorted({str(tensor.dtype).removeprefix("torch.") for tensor in given.values()}),
        kept=[name for name in kept if not name.endswith(COUNTER)],
        ignored=ignored,
    )
    return _Attempt(fitted, misfits, "; ".join(said))


def _converted(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is given, and else what the model has, in the model's dtypes."""
    return {name: given.get(name, own).detach().to(own.dtype) for name, own in expected.items()}


def _misfits(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], kept: Sequence[str]
) -> tuple[list[str], int]:
    """What does not fit, in words, and how many tensors that are."""
    found = {
        "missing": [name for name in expected if name not in given and name not in kept],
        "unexpected": [name for name in given if name not in expected],
        "of another shape": [
            f"{name} is {_shape(given[name])}, must be {_shape(expected[name])}"
            for name in expected
            if name in given and given[name].shape != expected[name].shape
        ],
    }
    said = [f"{what}: {_listed(some)}" for what, some in found.items() if some]
    return said, sum(map(len, found.values()))


def _renamed(name: str, rename: Mapping[str, str]) -> str:
    """By the longest beginning that is renamed."""
    for old in sorted(rename, key=len, reverse=True):
        if name.startswith(old):
            return rename[old] + name[len(old) :]
    return name


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
