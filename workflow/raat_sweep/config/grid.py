"""Grids: the cells that an item of a config is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import Field, WithJsonSchema, model_validator

from raat_core.interface.registry import BUILT_IN_ARCHITECTURES
from raat_core.validation import Frozen
from raat_sweep.config.data_sets import DataSetName

OF_ATTACKS = "attack."
"""What settings of attacks begin with among those that a grid varies."""
GridArchitecture: TypeAlias = Annotated[
    str, WithJsonSchema({"anyOf": [{"enum": list(BUILT_IN_ARCHITECTURES)}, {"type": "string"}]})
]
"""Of the catalogue, or of the config's own `architectures`, which `Config` looks it up in."""


class Grid(Frozen):
    """Cells: data sets x architectures x methods x varied settings x seeds."""

    datasets: tuple[DataSetName, ...] = Field(min_length=1, description="Data sets.")
    architectures: tuple[GridArchitecture, ...] = Field(
        min_length=1, description="Architectures, or names from `architectures`."
    )
    methods: tuple[str, ...] = Field(min_length=1, description="Labels from `methods`.")
    seeds: tuple[int, ...] = Field(min_length=1, description="One training each; ≥ 2 give a std.")
    threat_model: str = Field("linf", description="Name from `threat_models`.")
    recipe: str = Field("default", description="Name from `recipes`.")
    vary: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        description="Method settings to vary, each with its values; `attack.epsilon` and the like "
        "are settings of the attacks, which do not train other cells.",
    )

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
        for key in ("datasets", "architectures", "methods", "seeds"):
            refuse_repeats(key, getattr(self, key))
        for seed in self.seeds:
            if not 0 <= seed < 2**31:
                raise ValueError(f"seeds = {list(self.seeds)}: must be from 0 to 2^31 - 1")
        for setting, values in self.vary.items():
            if not values:
                raise ValueError(f"vary.{setting} = []: must have at least one value")
            refuse_repeats(f"vary.{setting}", values)
        return self


def of_attacks(setting: str) -> bool:
    """Whether a varied setting is one of attacks."""
    return setting.startswith(OF_ATTACKS)


def refuse_repeats(key: str, values: Sequence[object]) -> None:
    # By their text: of `vary`, values may be anything, lists too.
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"{key} = {list(values)}: the same value stands there twice")
