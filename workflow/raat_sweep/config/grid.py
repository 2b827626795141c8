"""Grids: the cells that an item of a config is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from raat_core.interface.registry import BUILT_IN_ARCHITECTURES
from raat_core.validation import Frozen
from raat_sweep.config.data_sets import DataSetName

OF_ATTACKS = "attack."
"""What settings of attacks begin with among those that a grid varies."""
GridArchitecture: TypeAlias = Annotated[
    str, WithJsonSchema({"anyOf": [{"enum": list(BUILT_IN_ARCHITECTURES)}, {"type": "string"}]})
]
"""Of the catalogue, or of the config's own `architectures`, which `Config` looks it up in."""


OF_METHODS = ("architectures", "methods", "seeds")


def _methods_or_models(schema: dict[str, Any]) -> None:
    """Put into JSON schema what `Grid._need_no_methods` allows."""
    schema["required"] = ["datasets"]
    schema["anyOf"] = [{"required": list(OF_METHODS)}, {"required": ["models"]}]


class Grid(Frozen):
    """Cells: data sets x architectures x methods x varied settings x seeds; and models."""

    model_config = ConfigDict(json_schema_extra=_methods_or_models)

    datasets: tuple[DataSetName, ...] = Field(min_length=1, description="Data sets.")
    architectures: tuple[GridArchitecture, ...] = Field(
        description="Architectures, or names from `architectures`."
    )
    methods: tuple[str, ...] = Field(description="Labels from `methods`.")
    seeds: tuple[int, ...] = Field(description="One training each; ≥ 2 give a std.")
    models: tuple[str, ...] = Field(
        (),
        description="Labels from `models`, which have an architecture of their own; a grid of them "
        "alone needs no architectures, methods and seeds.",
    )
    threat_model: str = Field("linf", description="Name from `threat_models`.")
    recipe: str = Field("default", description="Name from `recipes`.")
    vary: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        description="Method settings to vary, each with its values; `attack.epsilon` and the like "
        "are settings of the attacks, which do not train other cells.",
    )

    @model_validator(mode="before")
    @classmethod
    def _need_no_methods(cls, data: Any) -> Any:
        """With models and no methods, what methods are trained on and with says nothing."""
        if not isinstance(data, Mapping) or not data.get("models") or data.get("methods"):
            return data
        return {**dict.fromkeys(OF_METHODS, ()), **data}

    @model_validator(mode="after")
    def _check_whole(self) -> Grid:
        for key in OF_METHODS:
            if not getattr(self, key) and (self.methods or not self.models):
                raise ValueError(f"{key} = []: must have at least 1 item")
        if self.models and self.varied_in_methods:
            raise ValueError(
                f"vary: models ({', '.join(self.models)}) have no settings of methods; give them a "
                f"grid of their own"
            )
        return self

    @property
    def varied_in_methods(self) -> dict[str, tuple[Any, ...]]:
        """The settings of methods in `vary`, with their values."""
        return {key: values for key, values in self.vary.items() if not of_attacks(key)}

    @property
    def varied_in_attacks(self) -> dict[str, tuple[Any, ...]]:
        """The settings of attacks in `vary`, as the attacks call them, with their values."""
        return {
            key.removeprefix(OF_ATTACKS): values
            for key, values in self.vary.items()
            if of_attacks(key)
        }

    @model_validator(mode="after")
    def _check_repeats(self) -> Grid:
        for key in ("datasets", "architectures", "methods", "seeds", "models"):
            refuse_repeats(key, getattr(self, key))
        for seed in self.seeds:
            if not 0 <= seed < 2**31:
                raise ValueError(f"seeds = {list(self.seeds)}: must be from 0 to 2^31 - 1")
        for setting, values in self.vary.items():
            if not values:
                raise ValueError(f"vary.{setting} = []: must have at least one value")
            refuse_repeats(f"vary.{setting}", values)
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Of its methods and models."""
        return (*self.methods, *self.models)


def of_attacks(setting: str) -> bool:
    """Whether a varied setting is one of attacks."""
    return setting.startswith(OF_ATTACKS)


def refuse_repeats(key: str, values: Sequence[object]) -> None:
    # By their text: of `vary`, values may be anything, lists too.
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"{key} = {list(values)}: the same value stands there twice")
