"""Arithmetic of training, a setting of the cell. Needs no torch."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from pydantic import Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema

from raat_core.validation import Frozen, suggest

Arithmetic: TypeAlias = Literal["fp32", "tf32", "bf16"]
"""fp32: IEEE single precision. tf32: convolutions and matrix products of float32 tensors round
their inputs to ten bits, on GPUs that can; elsewhere the same as fp32. bf16: they and most of what
lies between them are in bfloat16; weights, BatchNorm's statistics and losses stay in fp32."""
ARITHMETICS: tuple[Arithmetic, ...] = get_args(Arithmetic)


class Precision(Frozen):
    """Arithmetic of the two halves of a training step; evaluation always is fp32.

    Written as one word where both are the same: `precision: bf16`.
    """

    attack: Arithmetic = Field(description="Of the training attack.")
    training: Arithmetic = Field(
        description="Of all other forwards and backwards of a training step."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_one_word(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        if data not in ARITHMETICS:
            both = "; or {attack: ..., training: ...}"
            raise ValueError(f"unknown arithmetic{suggest(data, ARITHMETICS)}{both}")
        return {"attack": data, "training": data}

    @model_serializer(mode="plain")
    def _write(self) -> str | dict[str, str]:
        if self.attack == self.training:
            return self.attack
        return {"attack": self.attack, "training": self.training}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        halves = {
            name: {"enum": list(ARITHMETICS), "description": field.description}
            for name, field in cls.model_fields.items()
        }
        mapping = {
            "type": "object",
            "properties": halves,
            "required": list(halves),
            "additionalProperties": False,
        }
        return {"anyOf": [{"enum": list(ARITHMETICS)}, mapping]}

    @property
    def in_names(self) -> str:
        """As it stands in names of folders."""
        if self.attack == self.training:
            return self.attack
        return f"attack-{self.attack}-training-{self.training}"

    def __str__(self) -> str:
        if self.attack == self.training:
            return self.attack
        return f"attack in {self.attack}, training in {self.training}"


FP32 = Precision(attack="fp32", training="fp32")
