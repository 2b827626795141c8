"""Balls of attacks: their own, the threat model's, or a part of it (`1/2 of epsilon`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import PixelFraction, format_fraction

OF_THREAT_MODEL = ("norm", "epsilon", "step_size")
"""Settings that are the threat model's where an attack does not give them."""
LENGTHS = ("epsilon", "step_size")
"""Of these: what may be given as a part of epsilon."""
_PART = re.compile(r"\s*([0-9.]+(?:\s*/\s*[0-9]+)?)\s+of\s+epsilon\s*")
PART_SCHEMA = {"type": "string", "pattern": r"^\s*[0-9.]+\s*(/\s*[0-9]+)?\s+of\s+epsilon\s*$"}
"""JSON schema of a part."""
_FRACTION: TypeAdapter[Fraction] = TypeAdapter(PixelFraction)


def part_of_epsilon(value: object) -> Fraction | None:
    """Which part of epsilon a text such as `1/2 of epsilon` is; None if it is no such text.

    Raises:
        ValueError: it speaks of a part, and there is no such part.
    """
    if not isinstance(value, str) or not re.search(r"\bof\b", value):
        return None
    found = _PART.fullmatch(value)
    part = _fraction(found.group(1)) if found else None
    if part is None or not 0 <= part <= 1000:
        raise ValueError(
            "must be a fraction of the pixel range such as 8/255, or a part of the ball's radius "
            "such as 1/2 of epsilon"
        )
    return part


def as_written(value: object) -> object:
    """A length in one way of writing it: `4/255`, `1/2 of epsilon`; what is none, as it is."""
    part = part_of_epsilon(value)
    if part is not None:
        return f"{part} of epsilon"
    fraction = _fraction(value)
    return value if fraction is None else format_fraction(fraction)


def radius(value: object, threat: ThreatModel) -> Fraction | None:
    """An attack's epsilon in a threat model's ball; None if `value` is no length."""
    part = part_of_epsilon(value)
    return _fraction(value) if part is None else part * threat.epsilon


def ball_of(given: Mapping[str, Any], threat: ThreatModel, wanted: Sequence[str]) -> dict[str, Any]:
    """Those of `OF_THREAT_MODEL` that are wanted, in a threat model's ball.

    A step size that is not given is the part of the attack's epsilon that the threat model's is of
    its own.

    Args:
        given: settings that an attack has, without those that are the threat model's.
        threat: the threat model.
        wanted: names of settings.
    """
    epsilon = radius(given["epsilon"], threat) if "epsilon" in given else threat.epsilon
    ball = {"norm": threat.norm, **given}
    if epsilon is None:  # Of a plugin, and no number: it has its own checks.
        epsilon = threat.epsilon
    else:
        ball["epsilon"] = epsilon
    part = part_of_epsilon(given.get("step_size"))
    if part is not None:
        ball["step_size"] = part * epsilon
    elif "step_size" not in given:
        ball["step_size"] = threat.step_in(epsilon)
    return {key: ball[key] for key in wanted}


def _fraction(value: object) -> Fraction | None:
    try:
        return _FRACTION.validate_python(value)
    except ValidationError:
        return None
