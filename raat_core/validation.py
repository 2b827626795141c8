"""What every spec and config model is made of: frozen models, exact fractions, one-line errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from raat_core.errors import UserError


def suggest(value: object, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'? allowed: x, y` for a value that is none of `allowed`."""
    names = list(allowed)
    close = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    return f"{hint} allowed: {', '.join(names)}"


class Frozen(BaseModel):
    """An immutable model that knows its keys: an unknown one is an error with a suggestion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def config_keys(cls) -> list[str]:
        """The keys that a config file may use, aliases where there are any."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.config_keys():
                    raise ValueError(f"unknown key '{key}'{suggest(key, cls.config_keys())}")
        return data


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], data: object, source: str) -> Model:
    """Validate `data` as `model`.

    Raises:
        UserError: one line per mistake, `source: key = value: what is allowed`.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError("\n".join(explain(error, source))) from None


_MESSAGES = {
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
}


def explain(error: ValidationError, source: str) -> list[str]:
    """One line per mistake in `error`: where it is, what stood there, what is allowed."""
    mistakes = error.errors(include_url=False)
    lines = []
    for mistake in mistakes:
        if any(_is_inside(other["loc"], mistake["loc"]) for other in mistakes):
            continue  # A list that is too short because its entries were refused, for example.
        key = ".".join(str(part) for part in mistake["loc"])
        message = _MESSAGES.get(mistake["type"], mistake["msg"].removeprefix("Value error, "))
        if mistake["type"] == "missing":
            line = f"{key}: is missing"
        elif isinstance(mistake["input"], (dict, list)) or not key:
            line = f"{key}: {message}" if key else message
        else:
            line = f"{key} = {mistake['input']!r}: {message}"
        lines.append(f"{source}: {line}")
    return lines


def _is_inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _to_fraction(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be a fraction of the pixel range such as 8/255")
    try:
        return Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a fraction of the pixel range such as 8/255") from None


def format_fraction(value: Fraction) -> str:
    """Exactly `value`: `8/255` where 255 is a denominator, else a decimal (`0.05`), else `a/b`."""
    if value.denominator == 1:
        return str(value)
    in_levels = value * 255
    if in_levels.denominator == 1:
        return f"{in_levels.numerator}/255"
    if Fraction(repr(float(value))) == value:
        return repr(float(value))
    return str(value)


PixelFraction = Annotated[
    Fraction,
    BeforeValidator(_to_fraction),
    PlainSerializer(format_fraction, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*[0-9.]+\s*(/\s*[0-9]+\s*)?$"},
                {"type": "number", "exclusiveMinimum": 0},
            ],
            "description": "a fraction of the pixel range [0, 1], such as 8/255",
        }
    ),
]


def _to_float(value: object) -> object:
    """A fraction `a/b` as the nearest float; pydantic judges all else."""
    if not isinstance(value, str) or "/" not in value:
        return value
    try:
        return float(Fraction(value.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a number or a fraction such as 2/3") from None


Ratio = Annotated[
    float,
    Field(gt=0, le=1),
    BeforeValidator(
        _to_float,
        json_schema_input_type=Annotated[float, Field(gt=0, le=1)]
        | Annotated[str, Field(pattern=r"^\s*[0-9]+\s*/\s*[0-9]+\s*$")],
    ),
]
"""A number above 0 and up to 1 that may be written as a fraction (`2/3`); the float is kept."""
