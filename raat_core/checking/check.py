"""All that a plugin registers, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raat_core.checking.architectures import check_architecture
from raat_core.checking.attacks import check_attack
from raat_core.checking.data_sets import check_data_set
from raat_core.checking.findings import Report
from raat_core.checking.methods import check_method
from raat_core.checking.registered import Extension, given_to
from raat_core.fast.arithmetic import use_ieee_arithmetic


def checked(
    extensions: Sequence[Extension], given: Mapping[str, Any], data_root: Path | None = None
) -> Iterator[Report]:
    """A report of each extension, when its check is done.

    Args:
        extensions: which.
        given: settings that are not their defaults, for whatever has them.
        data_root: where data lies; without, the environment's RAAT_DATA, or `data`.
    """
    use_ieee_arithmetic()
    checks: dict[str, Callable[[Extension], Report]] = {
        "method": lambda one: check_method(one, given_to(one, given)),
        "attack": lambda one: check_attack(one, given_to(one, given)),
        "architecture": check_architecture,
        "data set": lambda one: check_data_set(one, data_root),
    }
    for extension in extensions:
        yield checks[extension.kind](extension)
