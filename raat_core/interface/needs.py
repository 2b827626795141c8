"""A cell that another cell needs first: a teacher, a helper model, the weights of a warm start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    WithJsonSchema,
)

from raat_core.interface.registry import resolve_settings
from raat_core.interface.settings import CompoundSetting, MethodSettings
from raat_core.specs.recipe import Recipe
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import Frozen, added

Checkpoint: TypeAlias = Literal["best", "last"]
Spec = TypeVar("Spec", bound=Frozen)


class AsInSpec(BaseModel):
    """What a cell's spec says under a key of its own; it is checked where it becomes a cell."""

    model_config = ConfigDict(frozen=True, extra="allow")


def _named_or(model: type[Spec]) -> BeforeValidator:
    """A name, or a mapping that is validated by itself, so that its mistakes are told once."""

    def check(value: object) -> object:
        return value if isinstance(value, (str, type(None))) else model.model_validate(value)

    return BeforeValidator(check)


NeededMethod: TypeAlias = Annotated[
    SerializeAsAny[MethodSettings],
    BeforeValidator(resolve_settings),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}),
]


class NeededCell(CompoundSetting):
    """A cell that is trained first, whose model the needing cell's training gets.

    As the type of a method's setting: `teacher: NeededCell = Field(description=...)`. What is not
    given is the needing cell's own; arithmetic and, without `selection`, the choice of the best
    checkpoint always are. Extra data is not handed on.
    """

    method: NeededMethod = Field(description="Its method: a name, or {name: ..., ...}.")
    recipe: Annotated[Recipe | str | None, _named_or(Recipe)] = added(
        None, "Its recipe; in a config also a name from `recipes`. null: the needing cell's."
    )
    threat_model: Annotated[ThreatModel | str | None, _named_or(ThreatModel)] = added(
        None, "Its threat model; in a config also a name. null: the needing cell's."
    )
    dataset: str | None = added(None, "Its data set, by name; null: the needing cell's.")
    image_folder: AsInSpec | None = added(None, "What `dataset` is, if it is an image folder.")
    architecture: str | None = added(None, "Its architecture; null: the needing cell's.")
    seed: int | None = added(None, "Its seed; null: the needing cell's.", ge=0, lt=2**31)
    selection: AsInSpec | None = added(None, "How its best checkpoint is chosen; null: as here.")
    extra_data: AsInSpec | None = added(None, "Its extra data; null: none.")
    checkpoint: Checkpoint = Field("best", description="Which weights are taken.")

    @property
    def in_names(self) -> str:
        """Its method, as names of cells have it."""
        variant = self.method.variant
        is_plain = variant in ("", "paper")
        return self.method.name if is_plain else f"{self.method.name}-{variant}"

    def spec(self, needing: Mapping[str, Any]) -> dict[str, Any]:
        """The needed cell's spec; what is not given is taken from the needing cell's.

        Raises:
            ValueError: a recipe or threat model is no more than a name.
        """
        given: dict[str, Any] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if key == "checkpoint" or value is None:
                continue
            if key in ("recipe", "threat_model") and isinstance(value, str):
                raise ValueError(
                    f"{key} = '{value}': must be a mapping of keys to values; a name is looked "
                    f"up in configs only"
                )
            given[key] = value.model_dump() if isinstance(value, AsInSpec) else value
        if "dataset" in given:
            given.setdefault("image_folder", None)
        if "architecture" in given:
            given["network"] = None
        return {**needing, "extra_data": None, **given}

    def replace(self, changes: Mapping[str, object]) -> NeededCell:
        """The same need with other values under some keys."""
        given = {key: getattr(self, key) for key in type(self).model_fields}
        return type(self).model_validate({**given, **changes})


def needs_of(settings: MethodSettings) -> dict[str, NeededCell]:
    """The cells that a method's settings ask for, by the setting's key in configs."""
    values = {
        field.alias or name: getattr(settings, name)
        for name, field in type(settings).model_fields.items()
    }
    return {key: value for key, value in values.items() if isinstance(value, NeededCell)}


def with_needs(
    settings: MethodSettings, change: Callable[[NeededCell], NeededCell]
) -> MethodSettings:
    """Settings with `change` made of every cell that they ask for."""
    changed = {key: change(need) for key, need in needs_of(settings).items()}
    return settings.replace(changed) if changed else settings
