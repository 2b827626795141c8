"""Settings of a method, those among them in which the released code departs from the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import Field
from pydantic.fields import FieldInfo

from raat_core.interface.facts import CellFacts
from raat_core.validation import Growing

Variant: TypeAlias = Literal["paper", "released"]


def departure(paper: object, released: object, description: str, **bounds: Any) -> Any:
    """A setting in which the released code departs from the paper; the default is the paper's."""
    values: Any = {"paper": paper, "released": released}
    return Field(default=paper, description=description, json_schema_extra=values, **bounds)


def _departures(settings: type[MethodSettings]) -> dict[str, FieldInfo]:
    return {
        name: field
        for name, field in settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "released" in field.json_schema_extra
    }


class CompoundSetting(Growing):
    """A setting of several values, for which a word stands in names of cells and in tables."""

    @property
    def in_names(self) -> str:
        """That word."""
        raise NotImplementedError


class MethodSettings(Growing):
    """Base of all methods' settings; a subclass narrows `name` to a Literal."""

    name: str = Field(description="The method, by its registered name.")

    @classmethod
    def preset(cls, variant: Variant) -> dict[str, object]:
        """The departures' values as the paper says or as the released code has them."""
        return {
            name: field.json_schema_extra[variant]  # type: ignore[index]
            for name, field in _departures(cls).items()
        }

    @property
    def variant(self) -> str:
        """`paper`, `released`, or `mixed` where single departures are switched.

        Derived from the settings, so that a method without departures has one variant, `paper`,
        and two configs that mean the same cell share it.
        """
        departures = {name: getattr(self, name) for name in self.preset("paper")}
        if departures == self.preset("paper"):
            return "paper"
        return "released" if departures == self.preset("released") else "mixed"

    def check(self, cell: CellFacts) -> None:
        """Refuse a cell that these settings make no sense in, before any job is submitted.

        Raises:
            ValueError: names the settings, those of `cell` among them, with their values.
        """

    def replace(self, changes: Mapping[str, object]) -> MethodSettings:
        """These settings with other values under some config keys (pydantic's error for bad)."""
        return type(self).model_validate({**self.model_dump(by_alias=True), **changes})

    def shown(self, key: str, value: object) -> object:
        """What tables and figures print for a value given under a config key."""
        for name, field in type(self).model_fields.items():
            mine = getattr(self, name)
            if key == (field.alias or name) and isinstance(mine, CompoundSetting):
                return mine.in_names
        return value

    def distinctive(self) -> dict[str, object]:
        """The settings that differ from their variant's preset, under their config keys."""
        preset = self.preset("released" if self.variant == "released" else "paper")
        mine = self.model_dump(by_alias=True)
        distinctive = {}
        for name, field in type(self).model_fields.items():
            usual = preset.get(name, field.get_default(call_default_factory=True))
            if getattr(self, name) != usual:  # One without a default always is distinctive.
                key, value = field.alias or name, getattr(self, name)
                is_compound = isinstance(value, CompoundSetting)
                distinctive[key] = value.in_names if is_compound else mine[key]
        return distinctive
