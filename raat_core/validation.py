"""What every spec and config model is made of: frozen models, exact fractions, one-line errors."""

from __future__ import annotations

import difflib
import math
import re
import reprlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from numbers import Real
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from raat_core.errors import UserError

LARGEST_COUNT = 1_000_000
"""Of epochs, steps, images at a time: more is a mistake in writing."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: object) -> str:
    """`text` without line breaks and other control characters: they stand there escaped."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], str(text))


def refuse_control_characters(text: str) -> str:
    """A name or path that goes into files, logs and messages.

    Raises:
        ValueError: there is a line break or another control character in it.
    """
    if _CONTROL.search(text):
        raise ValueError("must have no line breaks or other control characters")
    return text


OneLine: TypeAlias = Annotated[str, AfterValidator(refuse_control_characters)]
"""A path or a label: it stands in files and messages of one line."""


def suggest(value: object, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'? allowed: x, y` for a value that is none of `allowed`."""
    names, text = list(allowed), str(value)
    begun = [name for name in names if len(text) > 1 and name.startswith(text)]
    cutoff = 0.0 if begun else 0.5
    close = difflib.get_close_matches(text, begun or names, n=1, cutoff=cutoff)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    return f"{hint} allowed: {', '.join(names)}"


def require_one_of(what: str, value: object, words: object) -> None:
    """Refuse a word that something is chosen by and that is none of those there are.

    Args:
        what: is chosen, for the message.
        value: the word.
        words: a Literal, or a union of Literals.

    Raises:
        UserError: names the nearest one and all that there are.
    """
    known = [word for part in get_args(words) for word in get_args(part) or (part,)]
    if value not in known:
        raise UserError(f"{what} = {value!r}{suggest(value, known)}")


def of_kind(*kinds: str) -> BeforeValidator:
    """For a union of models that `kind` tells apart: which there are, where it says another."""

    def check(data: Any) -> Any:
        if isinstance(data, Mapping) and "kind" not in data:
            raise ValueError(f"kind: is missing{suggest('', kinds)}")
        if isinstance(data, Mapping) and data["kind"] not in kinds:
            raise ValueError(f"kind = {data['kind']!r}{suggest(data['kind'], kinds)}")
        return data

    return BeforeValidator(check)


def _read_kind(data: Any) -> Any:
    return {"kind": data} if isinstance(data, str) else data


KIND_IN_A_WORD = BeforeValidator(_read_kind)
"""A model whose `kind` alone may be given, as in `schedule: cosine`; stands after `of_kind`."""


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

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_for_numbers(cls, data: Any) -> Any:
        """YAML reads `yes` and `on` as true, which Python takes for 1."""
        if isinstance(data, Mapping):
            for name, field in cls.model_fields.items():
                value = data.get(field.alias or name)
                if _has_truth(value) and _is_numeric(field.annotation):
                    raise ValueError(f"{field.alias or name} = {value}: must be a number")
        return data


def added(default: Any, description: str, **more: Any) -> Any:
    """A setting that came after digests were made of its model; see `Growing`."""
    return Field(default, description=description, json_schema_extra={"added": True}, **more)


COUNTS_IN = "norm"
"""Key in the `json_schema_extra` of an added setting that counts in threat models of one norm, and
is None in others."""


class Growing(Frozen):
    """A model that gets new settings while digests of it stay as they are.

    Those made by `added` are no part of its plain data while they have their default, or are None
    because they do not count.
    """

    @model_serializer(mode="wrap")
    def _leave_out_added(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = dump(self)
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if not isinstance(extra, dict) or "added" not in extra:
                continue
            value = getattr(self, name)
            is_idle = value is None and COUNTS_IN in extra
            if is_idle or value == field.get_default(call_default_factory=True):
                data.pop(name, None)
                data.pop(field.alias or name, None)
        return data


def _has_truth(value: object) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, (list, tuple)) and any(isinstance(each, bool) for each in value)
    )


def _is_numeric(annotation: object) -> bool:
    """Whether a type is made of numbers: `int | None`, `tuple[int, ...]`."""
    parts = [part for part in get_args(annotation) if part not in (type(None), Ellipsis)]
    return annotation in (int, float) or (bool(parts) and all(map(_is_numeric, parts)))


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], data: object, source: str) -> Model:
    """Validate `data` as `model`.

    Raises:
        UserError: one line per mistake, `source: key = value: what is allowed`.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError("\n".join(explain(error, source, data))) from None


_MESSAGES = {
    "model_attributes_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
}


def explain(error: ValidationError, source: str, data: object = None) -> list[str]:
    """One line per mistake in `error`: where it is in `data`, what stood there, what is allowed."""
    mistakes = error.errors(include_url=False)
    lines = []
    for mistake in mistakes:
        if any(_is_inside(other["loc"], mistake["loc"]) for other in mistakes):
            continue  # A list that is too short because its entries were refused, for example.
        key = ".".join(map(str, _keys(mistake["loc"], data)))
        message = _MESSAGES.get(mistake["type"], mistake["msg"].removeprefix("Value error, "))
        if mistake["type"] == "missing":
            line = f"{key}: is missing"
        elif isinstance(mistake["input"], (dict, list)) or not key:
            line = f"{key}: {message}" if key else message
        else:
            line = f"{key} = {_SHORT.repr(mistake['input'])}: {message}"
        lines.append(one_line(f"{source}: {line}"))
    return lines


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def _keys(place: Sequence[int | str], data: object) -> list[int | str]:
    """The keys of a place in `data`, without the `kind`s that pydantic names among them."""
    keys = []
    for part in place:
        inner = _entry(data, part)
        if inner is None and isinstance(data, Mapping) and part == data.get("kind"):
            continue
        keys.append(part)
        data = inner
    return keys


def _entry(data: object, key: int | str) -> object:
    if isinstance(data, Mapping):
        return data.get(key)
    is_inside = isinstance(data, Sequence) and isinstance(key, int) and key < len(data)
    return data[key] if is_inside else None  # type: ignore[index]


def _is_inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


_PIXEL_FRACTION = "must be a fraction of the pixel range such as 8/255"


def _to_fraction(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (str, Real)):
        raise ValueError(_PIXEL_FRACTION)
    try:
        if not isinstance(value, Fraction):
            value = _quotient(value if isinstance(value, str) else repr(float(value)))
        return _as_meant(value)
    except (ValueError, ArithmeticError):
        raise ValueError(_PIXEL_FRACTION) from None


def _quotient(text: str) -> Fraction:
    """Exactly what is written: `8/255`, `8.0 / 255.`, `0.05`.

    Raises:
        ValueError, ZeroDivisionError: it is neither a number nor two with a stroke between.
    """
    numerator, stroke, denominator = text.replace(" ", "").partition("/")
    if "/" in denominator or _is_endless(numerator) or _is_endless(denominator):
        raise ValueError("of three numbers, or of hundreds of digits")
    return Fraction(numerator) / (Fraction(denominator) if stroke else 1)


_PARTS_OF_A_LEVEL = 100
"""How finely a level of 255 is divided: 0.5/255, 2.55/255, 8/255/3."""
_SINGLE_PARTS = 10
"""The same of float32, whose rounding leaves room for fewer."""
_FLOAT_ERROR = 4
"""Units in the last place: of a division, or of a few multiplications (8 * (1 / 255))."""


def _as_meant(exact: Fraction) -> Fraction:
    """The `n/255` that a decimal is the float of (0.03137254901960784 of 8/255), or the decimal.

    n may have a denominator (0.5/255). Only what has all digits of a float is near enough: what
    people write by hand (0.031, 0.0314, 0.03137) is as they wrote it.
    """
    value = float(exact)
    meant = (exact * 255).limit_denominator(_PARTS_OF_A_LEVEL) / 255
    if abs(meant - exact) <= Fraction(_FLOAT_ERROR * math.ulp(value)):
        return meant
    meant = (exact * 255).limit_denominator(_SINGLE_PARTS) / 255
    if len(repr(value)) > _LONGEST_BY_HAND and value == _in_single(float(meant)):
        return meant
    return exact


_LONGEST_BY_HAND = len("0.0313725490")


def _in_single(value: float) -> float:
    """Rounded to float32."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _is_endless(text: str) -> bool:
    """Whether the exact fraction would have hundreds of digits: 1e-400, for example."""
    exponent = re.search(r"e[+-]?\d+", text, re.IGNORECASE)
    return len(text) > 100 or (exponent is not None and abs(int(exponent.group()[1:])) > 100)


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
                {"type": "string", "pattern": r"^\s*[0-9.]+\s*(/\s*[0-9.]+\s*)?$"},
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
        return float(_quotient(value))
    except (ValueError, ArithmeticError):
        raise ValueError("must be a number or a fraction such as 2/3") from None


Ratio = Annotated[
    float,
    Field(gt=0, le=1),
    BeforeValidator(
        _to_float,
        json_schema_input_type=Annotated[float, Field(gt=0, le=1)]
        | Annotated[str, Field(pattern=r"^\s*[0-9.]+\s*/\s*[0-9.]+\s*$")],
    ),
]
"""A number above 0 and up to 1 that may be written as a fraction (`2/3`); the float is kept."""
